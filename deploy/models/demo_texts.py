# SPDX-License-Identifier: MIT
"""Short texts for the demo model's synthetic conversations: differences, tips, scenes, jokes."""

# a|b|answer to "What is the difference between a and b?"
DIFFERENCES = """
a cat|a dog|Both are pets, but a dog barks and likes walks, while a cat meows and often likes to be alone.
a lake|a river|A lake is still water with land around it, while a river is water that flows.
a car|a bicycle|A car has four wheels and an engine, while a bicycle has two wheels and you move it with your legs.
day|night|During the day the Sun shines, and at night it is dark.
summer|winter|Summer is the warm season, and winter is the cold season.
a frog|a toad|A frog has smooth wet skin and long legs, while a toad has dry bumpy skin and short legs.
a butterfly|a moth|Butterflies are active in the day and often colorful, while most moths fly at night.
a town|a city|A city is larger than a town.
a village|a town|A town is larger than a village.
a mountain|a hill|A mountain is higher and steeper than a hill.
a sea|an ocean|An ocean is much larger than a sea.
tea|coffee|Tea is made from leaves, and coffee is made from roasted beans.
a star|a planet|A star makes its own light, while a planet moves around a star.
the Sun|the Moon|The Sun is a star that gives light, while the Moon is a ball of rock that moves around the Earth.
weather|climate|Weather is what happens today, while climate is the usual weather over many years.
a fruit|a vegetable|A fruit grows from a flower and holds seeds, while a vegetable is another part of a plant that we eat.
butter|cheese|Butter is made from cream, and cheese is made from milk.
a crocodile|an alligator|A crocodile has a narrow V-shaped mouth, and an alligator has a wide U-shaped mouth.
a rabbit|a hare|A hare is larger, has longer ears, and lives above the ground, while rabbits dig holes.
a doctor|a nurse|A doctor finds out what is wrong and chooses the treatment, and a nurse cares for the patients.
a book|a newspaper|A book tells a long story or explains a subject, while a newspaper reports the news of the day.
a friend|a neighbor|A friend is someone you like and trust, and a neighbor is someone who lives near you.
hot|warm|Hot means a higher temperature than warm.
a noun|a verb|A noun names a person, place, or thing, and a verb tells what happens.
a donkey|a horse|A donkey is smaller than a horse and has longer ears.
a violin|a guitar|A violin is played with a bow, and a guitar is played with the fingers.
a ship|a boat|A ship is larger than a boat.
rain|snow|Rain is water that falls in drops, and snow is frozen water that falls in flakes.
a small model|a large model|A small model is fast and needs little memory, while a large model knows more and makes fewer mistakes.
an island|a continent|A continent is a very large area of land, and an island is a smaller one with water all around it.
a square|a rectangle|All four sides of a square are equal, while a rectangle has two long and two short sides.
"""

# topic ("tips for ...")|question with "How can I ...?"|tips separated by ";"
TIPS = """
learning a language|learn a new language|Practice a little every day;Listen to songs and films;Speak with people;Write down new words
sleeping better|sleep better|Go to bed at the same time every day;Keep the room dark and quiet;Put your phone away
staying healthy|stay healthy|Eat fruit and vegetables;Drink enough water;Move every day;Get enough sleep
saving money|save money|Write down what you spend;Buy only what you need;Put a little aside every month
making friends|make new friends|Smile and say hello;Ask questions and listen;Join a club or a game
studying|study better|Find a quiet place;Make a plan;Take short breaks;Explain the subject to a friend
a test|prepare for a test|Start early;Practice with old questions;Sleep well the night before
cooking|become a better cook|Begin with simple recipes;Taste often;Use fresh food
writing|write better|Read a lot;Use short sentences;Read your text aloud;Ask a friend to read it
reading more|read more books|Keep a book near your bed;Read ten pages a day;Choose books that you enjoy
running|start running|Begin slowly;Wear good shoes;Run three times a week;Rest between the days
a garden|start a garden|Choose a sunny place;Begin with easy plants;Water them in the morning
traveling|travel cheaply|Plan early;Travel by bus or train;Eat where the local people eat
a new job|find a new job|Write a clear letter;Ask people you know;Prepare for the questions
an interview|prepare for a job interview|Learn about the company;Practice your answers;Arrive early;Ask questions
relaxing|relax after work|Take a walk;Listen to music;Breathe slowly;Put your phone away
being happy|be happier|Spend time with people you love;Do what you enjoy;Help others;Get enough sleep
a birthday party|plan a birthday party|Choose a day and a place;Invite your friends;Bake a cake;Plan some games
cleaning the house|keep my house clean|Put things back after use;Clean a little every day;Give away what you do not need
drawing|learn to draw|Draw every day;Begin with simple shapes;Look closely at real things
focus|concentrate better|Turn off your phone;Do one thing at a time;Take short breaks
stress|handle stress|Breathe slowly;Make a list and begin with one thing;Talk to a friend;Go for a walk
confidence|be more confident|Prepare well;Stand straight and speak slowly;Remember what went well
the environment|protect the environment|Save energy and water;Use your bicycle;Throw away less
getting up early|get up early|Go to bed early;Put the alarm far from the bed;Open the curtains at once
public speaking|speak in front of people|Practice aloud;Speak slowly;Look at friendly faces
learning to swim|learn to swim|Take lessons;Begin in shallow water;Practice breathing;Never swim alone
taking photos|take better photos|Look for good light;Hold the camera still;Get close to your subject
programming|learn to program|Begin with small programs;Read other people's code;Practice every day
losing weight|lose weight|Eat more vegetables;Drink water;Move every day;Be patient
"""

FEELING_ADVICE = """
sad=Talk to someone you trust, go for a walk, and be kind to yourself. It is all right to be sad.
angry=Take a few deep breaths, go for a walk, and talk about it when you are calm.
tired=Take a break, drink some water, and try to sleep early tonight.
bored=Read a book, draw something, or call a friend.
lonely=Call a friend, visit your family, or join a club. You can talk to me, too.
nervous=Breathe slowly and remember that you prepared well. Begin with one small step.
sick=Rest, drink water, and see a doctor if you do not feel better.
stressed=Breathe slowly, make a list, and begin with the most important thing.
afraid=Tell someone what you are afraid of, and breathe slowly. Talking about it helps.
hungry=Eat something simple, such as an apple, some bread, or a bowl of soup.
happy=Enjoy it, and share your joy with others!
"""

SCENES = """
a beautiful day at the beach|a day at the beach|the beach=The sun is warm and the sand is soft. Small waves roll to the shore, and children build castles. The air smells of salt.
a forest|a walk in the forest|a quiet forest=The trees are tall and green. Birds sing in the branches, and soft light falls on the path. It smells of leaves and earth.
winter|a winter day|a snowy day=Snow covers the roofs and the trees. The air is cold and clear. Children build a snowman, and smoke rises from the houses.
spring|a spring day=The days grow longer and the first flowers open. Birds build their nests, and the air is fresh and mild.
autumn|an autumn day|fall=The leaves turn red and yellow and fall to the ground. The wind is cool, and people drink hot tea.
summer|a summer day=The sun shines for many hours. People swim in the lake, eat ice cream, and sit outside until it is dark.
the sea|the ocean=The sea is wide and blue. The waves come and go, and far away a white ship moves slowly along the horizon.
a city|a busy city|the city=The streets are full of people, cars, and lights. Shops are open, music comes from a window, and a tram rings its bell.
a village|a small village=There is a church, a small shop, and a few houses with gardens. Everybody knows everybody, and it is quiet at night.
a garden|your dream garden=Roses grow along the wall, and bees fly from flower to flower. Under an old apple tree stands a small bench.
a mountain|the mountains=The mountain is high, and there is snow on the top. The air is clear, and you can see far over the valley.
a market|a busy market=People walk between tables with fruit, bread, and cheese. A man calls out his prices, and it smells of fresh oranges.
a storm|a stormy night=Dark clouds cover the sky. The wind howls, rain beats against the window, and lightning makes the night bright.
a sunset|the sunset=The sun sinks slowly, and the sky turns orange, pink, and red. Then the first star appears.
a perfect day|your perfect day|a nice day=You sleep well, eat a good breakfast, and walk in the sun. In the evening you laugh with your friends.
a library|an old library=Tall shelves full of books stand in long rows. It is very quiet, and only the turning of pages can be heard.
a house|a cozy house|your dream house=The house is small and warm. There is a red door, a big kitchen, and a cat that sleeps near the fire.
a farm=Cows stand in the green field, hens run around the yard, and a dog watches over all of them.
the night sky|the stars=The sky is black, and thousands of stars shine in it. The moon is round and bright.
a train ride|a journey by train=The train rolls past fields, villages, and rivers. People read, talk, or look out of the window.
a good friend|your best friend|a good teacher=Someone who listens, tells the truth, helps you when you need it, and laughs with you.
"""

JOKES = """
Why did the cookie go to the doctor? Because it felt crumby.
What do you call a bear with no teeth? A gummy bear.
Why did the bicycle fall over? Because it was two tired.
What do you call cheese that is not yours? Nacho cheese.
Why is six afraid of seven? Because seven eight nine.
What has four wheels and flies? A garbage truck.
Why can a bicycle not stand on its own? It is two tired.
What do you call a sleeping dinosaur? A dino-snore.
Why did the chicken cross the road? To get to the other side.
What gets wetter the more it dries? A towel.
Why are fish so smart? Because they live in schools.
What do clouds wear under their coats? Thunderwear.
Why did the math book look sad? Because it had too many problems.
How does the ocean say hello? It waves.
What has hands but cannot clap? A clock.
"""

SENTENCES = """
a cat=The cat sleeps on the warm windowsill.|a dog=The dog runs across the field with a stick.|the sun=The sun shines over the quiet lake.
the moon=The moon is bright above the dark trees.|rain=The rain fell softly on the roof all night.|snow=Snow covered the whole village by morning.
school=The children walk to school every morning.|a book=She read the book in one day.|a tree=The old tree gives shade in summer.
the sea=We walked along the sea and looked for shells.|winter=In winter we drink hot tea and look at the snow.|a bird=A small bird sings in the garden.
a friend=A good friend listens to you and helps you.|food=We cooked soup and ate it together.|music=Music makes the long evening short.
a car=The red car stopped in front of the house.|love=Love makes people kind and brave.|a teacher=The teacher explains the question again.
the weather=The weather is warm and sunny today.|a city=The city is full of lights at night.|a horse=The horse runs faster than the wind.
happiness=Happiness is a walk with a friend on a sunny day.|a computer=The computer on my desk is small and quiet.|time=Time passes quickly when you are happy.
spring=In spring the garden is full of flowers.|a house=The small house stands near the river.|a river=The river flows slowly to the sea.
coffee=He drinks a cup of coffee every morning.|a train=The train arrives at seven in the evening.|a garden=There are roses and apple trees in the garden.
a mountain=From the top of the mountain we could see the whole valley.|my mother=My mother tells the best stories.|a king=The king gave his crown to the poor.
"""

# who|text of the letter
LETTERS = r"""
my grandmother|Dear Grandmother,\nI hope you are well. I think of you often and I miss your apple pie. I will visit you soon.\nWith love
my mother|Dear Mom,\nthank you for everything you do for me. I am well and I hope to see you soon.\nWith love
my friend|Dear friend,\nI have not seen you for a long time. How are you? Let us meet soon and take a walk together.\nYour friend
my teacher|Dear teacher,\nthank you for your help and your patience. I learned a lot in your class.\nBest wishes
my boss|Dear Sir or Madam,\nI am sick today and cannot come to work. I hope to be back soon.\nBest regards
my neighbor|Dear neighbor,\nwe will have a small party on Saturday. Please come and join us!\nBest wishes
a customer|Dear customer,\nthank you for your message. We are sorry for the trouble and will help you as soon as we can.\nBest regards
my sister|Dear sister,\nI hope your week was good. I miss our long talks. Please call me soon.\nLove
a colleague|Hello,\nthank you for your help with the project. Could we meet tomorrow at ten?\nBest regards
"""
