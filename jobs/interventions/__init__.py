"""What the stage ``intervene`` is made of: candidates and edits of latents, and what an edit does, here and later."""
