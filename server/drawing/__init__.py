"""Pictures of compiled graphs: Mermaid from LangGraph, SVG from a layered layout of our own (no Node, no network)."""
