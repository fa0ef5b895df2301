"""The functional welfare axis: concept vectors of a training in the maze, and what steering with them does."""
