"""CMU 16-720, homework 5 (Fall 2023), questions 2 to 6."""
