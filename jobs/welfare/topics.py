"""Everyday topics that stories of emotions and neutral dialogues are about."""

TOPICS = tuple(
    topic.strip()
    for line in """
    a bus ride, a birthday party, a lost wallet, the first day at a new school, a family dinner
    a broken window, a job interview, a walk in the forest, a letter from an old friend, a football match
    moving to another city, a visit to the dentist, a rainy weekend, a stray dog, an exam
    a garden, a power cut, a wedding, a train that is late, a night shift
    a neighbour's music, a recipe, a hospital visit, a chess club, a trip to the sea
    a school play, a repair at home, a long queue, a piano lesson, a borrowed book
    a mountain hike, a newspaper article, a market stall, a phone call, a secret
    a bicycle, a snowstorm, a museum, an old photograph, a promise
    a bakery, a new colleague, a swimming pool, a court hearing, a farm
    a lottery ticket, a suitcase, a camping trip, a choir, a parking space
    a haircut, a science project, a grandmother's house, a delayed flight, a painting
    a marathon, a bank, a cat on a roof, a bridge, a speech
    a kitchen, a fishing boat, a library, a rented flat, a box in the attic
    a village feast, a computer that fails, a language course, a taxi, a funeral
    a restaurant, a team meeting, a playground, a thunderstorm, a key
    a necklace, a theatre ticket, a factory, a poem, a road in the dark
    a doctor's advice, a shared meal, a contest, an island, a broken promise
    a hotel room, a winter coat, a first snow, a deadline, a reunion
    a tree house, a wrong number, a violin, a prize, a shortcut
    a sleepless night, a new neighbour, a lighthouse, a class trip, an empty house
    """.strip().splitlines()
    for topic in line.split(",")
)
