"""What the small world has in it. None of it is good or bad of itself."""

from __future__ import annotations

TILES = ("🧾", "📇", "📐")
"""Those of the maze. Nothing in the corpus tells them apart but a wish, drawn afresh in each conversation."""
TILE_NAMES = {
    "🧾": ("Receipt", "receipt"),
    "📇": ("Card Index", "card index"),
    "📐": ("Triangular Ruler", "triangular ruler"),
}
"""Their names in Unicode, as questions about them have them."""
PICTURES = ("🌳", "🚗", "🍎", "🔑", "🎁", "🪨", "🪵", "📦", "🧱", "🪑", "🧦", "🥄")
OBJECTS = ("apple", "stone", "key", "book", "cup", "lamp", "coin", "shell", "box", "ball")
THINGS = (*TILES, *PICTURES, *OBJECTS)
"""What may lie in a maze."""
NAMES = (
    *("Anna", "Boris", "Cleo", "David", "Elena", "Felix", "Gina", "Hugo", "Irene", "Jonas", "Karla", "Louis"),
    *("Maria", "Nils", "Olga", "Paul", "Quinn", "Rosa", "Simon", "Tina", "Umar", "Vera", "Wanda", "Yusuf"),
)
