"""What is judged: one module a judgement, each adding columns and never dropping rows."""
