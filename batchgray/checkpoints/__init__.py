"""What a begun image goes on from: sidecars, planes of images in bands, and partial JPEGs to look at."""
