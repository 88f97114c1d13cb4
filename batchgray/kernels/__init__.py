"""The arithmetic from colour to gray: formulas, what numba compiles, and machine code that is kept."""
