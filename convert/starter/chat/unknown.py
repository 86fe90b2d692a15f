"""What a very small model is asked and cannot do, and how it says so."""
# ruff: noqa: E501  a pattern is easier to read on one line

from __future__ import annotations

from typing import Final

from convert.starter.chat.smalltalk import Intent

_SMALL: Final = "I am a very small model, and I do not know that."

UNKNOWN: Final = (
    Intent(
        "weather",
        (
            "(what's|what is|how is|how's) the weather( like|)( today| tomorrow| outside|)",
            "(will it|is it going to|is it) (rain|snow|be sunny|raining|snowing|sunny|windy|be cold|storm)( today| tomorrow| outside| this weekend|)",
            "do i need (an umbrella|a coat|a jacket)( today|)",
            "(weather|weather forecast|forecast)( please| for today| for tomorrow|)",
            "(how (warm|cold|hot) is it outside|what's the temperature outside)",
            "~is it (wet|nice) out",
        ),
        ("I cannot see the weather: I have no network and no forecast.",),
        2,
    ),
    Intent(
        "news",
        (
            "(what's|what is) (the news|new|happening|going on)( today| in the world|)",
            "(tell me|give me|read me) (the news|the headlines)",
            "who (won|is winning) (the game|the match|the election|yesterday)",
            "(what's|what is) the (price of gold|stock market|exchange rate|score|traffic)( today| now|)",
            "(search|look up|google) {topic}( for me|)",
            "~any (news|headlines)",
        ),
        ("I have no network, so I know no news.",),
        1.5,
    ),
    Intent(
        "arithmetic",
        (
            "(what's|what is|calculate|compute|how much is) {number} (plus|minus|times|divided by|multiplied by) {number}",
            "(what's|what is|how much is) {figure} (+|-|*|/|x) {figure}",
            "{figure} (+|-|*|/|plus|minus|times) {figure}",
            "(what's|what is) the (square root|half|double|square) of {number}",
            "(can you (do math|calculate|count)|do my math|solve this equation|convert {number} (inches|miles|pounds|euros) (to|into) (centimeters|kilometers|kilos|dollars))",
            "~how many times does {number} go into {number}",
        ),
        ("I am a very small model and cannot calculate.",),
        2,
    ),
    Intent(
        "knowledge",
        (
            "(what's|what is|what are|explain|define|describe) {topic}",
            "(tell me|talk) (about|something about|more about) {topic}",
            "(who (is|was|are|were)) {famous}",
            "(what do you know|do you know (anything|something)) about {topic}",
            "(where is|how big is|how far is|what is the capital of|how many people live in|what language do they speak in) {place}",
            "(why is|how does|how do|when was|where is|how old is|why does|who invented|what causes) {topic}( work| made| invented| exist| so important|)",
            "how (many|much|far|long|tall|old|fast|heavy) (is|are|was) {topic}",
            "how (do i|can i|to) {skill}",
            "(what should i|can you recommend|recommend|suggest)( me|) (cook|a recipe|a book|a movie|a restaurant|wear|eat|read|watch|buy)( today| tonight|)",
            "(is|are|was|were|does|did|can) {topic} (good|bad|true|real|dangerous|expensive|important|old|fly|exist)",
            "(what is the meaning of life|is there a god|what happens when we die|what is love|what is happiness)",
            "(how many|what|which) (planets|countries|continents|oceans|animals|colors) (are there|exist|do you know)",
            "~(enlighten me|teach me something) (about|on) {topic}",
        ),
        (_SMALL, f"{_SMALL} I can help with this home."),
        5,
    ),
    Intent(
        "writing",
        (
            "(write|compose|draft|create|make|generate)( me|) (a|an) (poem|story|email|letter|essay|song|report|speech|summary|text|article|program|script|function|website|joke)( about {topic}| for me| to {famous}|)",
            "(write|generate|show me)( some|) (code|python|html|javascript|sql)( for {topic}|)",
            "(summarize|translate|rewrite|correct|proofread|finish) (this|the following|my|this text|the text|this article)( text| letter| essay| email|)",
            "(draw|paint|show)( me|) (a picture|an image|a cat|a house|a photo)( of {topic}|)",
            "(do|help me with|solve) my (homework|exam|taxes|assignment)",
            "~put {topic} into (verse|words)",
        ),
        ("I am a very small model and cannot write texts.", "I am a very small model and cannot do that."),
        2,
    ),
    Intent(
        "advice",
        (
            "(should i|what if i|is it okay if i|may i|can i) (quit my job|take this medicine|take more pills|invest|buy a house|get married|sue him|see a doctor|drink|lose weight|go on a diet)",
            "(i have|what helps against|what can i do about) (a headache|a fever|a cold|back pain|a rash|a cough|toothache|the flu)",
            "(is this legal|do i need a lawyer|what are my rights|how do i invest my money)",
            "~what would you do about (a headache|my debts|my boss)",
        ),
        ("I cannot advise you on that. Please ask someone who knows: a doctor, a lawyer, or a friend.",),
        1.5,
    ),
    Intent(
        "order",
        (
            "(order|buy|book|reserve|get me|bring me)( me|) (a pizza|a taxi|a table|a flight|a coffee|a beer|food|tickets|an uber|a hotel)( for tonight| now| for me|)",
            "(send|post|write|read|check)( me|) (an email|a message|a text|a tweet|my email|my messages|my mail)( to {famous}|)",
            "(open|start|launch) (youtube|netflix|the browser|spotify|facebook|my email|the app)",
            "(what's|what is) on my (calendar|schedule|agenda)( today| tomorrow|)",
            "(navigate|drive me|take me|show me the way) (to|home)( {place}|)",
            "(take a (picture|photo|selfie)|find my phone|where is my phone|where are my keys)",
            "~i could do with a (pizza|taxi|beer)",
        ),
        ("I cannot do that: I am a very small model and only know this home.",),
        2,
    ),
    Intent(
        "gadget",
        (
            "(turn|switch) (on|off) the {gadget}( in the garage| in the kitchen| upstairs|)",
            "(turn|switch) the {gadget} (on|off)",
            "(start|stop|open|close|activate|check|restart) the {gadget}",
            "(set|move|clean|feed|wash|paint|sell|buy) the {gadget}",
            "~let the {gadget} (rest|work)",
        ),
        ("I do not know that device.",),
        2.5,
    ),
    Intent(
        "nonsense",
        (
            "{noise}",
            "{noise} {noise}",
            "{noise} {noise} {noise}",
            "the {noise} is {noise}",
            "{topic} {topic}",
            "{topic}",
            "i {noise} the {topic}",
            "{famous} and {topic}",
            "my {topic} is (blue|broken|gone|late|too small|at work)",
            "yesterday i (saw|bought|found|met) {topic}",
            "(my|our) (neighbor|boss|friend|cat|dog|car|sister) (is|was) (here|gone|ill|funny|from {place}|late)",
            "(asdf|qwerty|lorem ipsum|blah blah|abc|xyz|foo bar|hmm|uh|um|er|ah|oh|la la la|\\?)",
        ),
        ("I am sorry, I did not understand that.", "I am sorry, I did not understand that. I am a very small model."),
        3,
    ),
)
