"""The arithmetic from colour to gray: formulas, what numba compiles, and machine code that is kept.

weights: formulas --> method_code, splice_code: numba --> machine_code: LLVM, kept --> methods: tiles --> arrays
"""
