"""Keep neural networks able to learn: Hare & Tortoise and the methods it is compared with."""
