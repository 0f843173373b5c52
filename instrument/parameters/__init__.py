"""What a hand can move, and what it did: every value by its id, latest wins; base, modulation, glide; one touch."""
