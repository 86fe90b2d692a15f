"""What all-MiniLM-L6-v2 is compared with transformers on: short, empty, in other scripts, and too long."""

SENTENCES = [
    "How do I reset the router?",
    "Hold the button on the back of the router for ten seconds to reset it.",
    "The weather station reports 21.5 °C and 48 % humidity.",
    "It is twenty-one and a half degrees warm.",
    "def mean(values): return sum(values) / len(values)",
    "Die Tür zum Serverraum steht offen.",
    "Somebody left the door of the server room open.",
    "",
    "ok",
    "Invoice 2041-B: 3 x 19.99 EUR, payable within 14 days!",
    "明天会下雨吗？",
    "a very long report about pumps and valves, " * 60,
]
