"""From files to pixels and back: what is known of each format, and the libraries that read and write them."""
