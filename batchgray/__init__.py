"""batchgray converts folders of images to grayscale, is interrupted, and goes on as if nothing had happened."""

__version__ = "0.1.0"
