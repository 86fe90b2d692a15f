"""What turns a JSON Schema into a GBNF grammar; `agent.engines.llama.json_grammar` is the way in."""
