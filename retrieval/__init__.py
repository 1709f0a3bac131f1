"""F3: from an uploaded file to a cited passage: parse, chunk, analyse, index, search, cite."""
