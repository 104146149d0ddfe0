"""Language models, by name: any OpenAI-compatible server, Azure OpenAI, or Ollama."""
