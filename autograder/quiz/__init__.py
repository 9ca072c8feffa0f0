"""The quiz: questions as data, predictions as a student writes them, and the truth from the engine's plan."""
