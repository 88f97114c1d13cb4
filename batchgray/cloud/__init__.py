"""What the services of a cloud have in common to those who ask them: credentials, the instance, a request's time."""
