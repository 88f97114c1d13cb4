"""What numba compiles, and LLVM keeps: the arithmetic from colour to gray, and steps of codecs.

    weights: formulas --> method_code  --> machine_code --> methods: of tiles --> arrays: to_gray
                          splice_code  --> machine_code --> codecs.jpeg_bands
                          walk_code    --> machine_code --> codecs.jpeg_slices
                          deflate_code --> machine_code --> deflate --> codecs.png

The modules of code are imported only where they have to be compiled.
"""
