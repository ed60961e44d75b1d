"""The recurrent models whose hidden state is read as a substrate."""
