"""The console's words, by what they are about: (Russian, English) by key."""
