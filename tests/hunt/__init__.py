"""Wrong and odd inputs to all that is public: the right value, or one line that says the cure."""
