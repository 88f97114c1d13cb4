"""From files to pixels and back, and all that knows image libraries.

    file --> opening: its format (signatures), what its structure says (*_outline, jpeg_markers), its costs (limits)
         --> jpeg: simplejpeg; png_input, tiff_input: ISA-L and kernels; webp_input: libwebp; pnm, heif;
             or pillow_probes, pillow: imageio and Pillow --> an OpenedImage (opened)
             .decode --> values of 8 bits (samples), over a background (transparency) --> planes
         --> band_plan; jpeg_slices: simplejpeg; or band_reader: libvips --> rows of what is large
    gray --> encoding: simplejpeg; png; of what is large band_writer (jpeg_bands, png) --> a file's bytes, EXIF (exif)

What libraries get to read are parts of the file (excerpt); what they raise and warn of becomes words (faults).
"""
