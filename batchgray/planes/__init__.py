"""The shared memory in which the supervisor and a worker hold an image."""
