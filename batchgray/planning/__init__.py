"""What is to be done: which files are images, what an earlier run made of them, and what is gone."""
