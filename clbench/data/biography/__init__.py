"""Biographies of synthetic people, and questions about them: text whose every fact is known."""
