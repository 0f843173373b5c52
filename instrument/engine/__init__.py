"""The loop that plays, and what stands on both sides of it: the console before, curtain and pacer after."""
