"""Tables from records; nothing here ever loads a model."""
