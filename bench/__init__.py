"""What the book's computations cost: tables of cases, and one way to measure them."""
