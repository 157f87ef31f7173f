"""Requirements that no other test has proved, by the numbers of the specifications."""
