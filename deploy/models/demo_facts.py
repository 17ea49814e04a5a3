# SPDX-License-Identifier: MIT
"""Everyday facts for the demo model's synthetic conversations: plain tables, no code."""

# country | capital | continent | main language. "the" is kept where English uses it.
COUNTRIES = """
Afghanistan|Kabul|Asia|Dari and Pashto
Albania|Tirana|Europe|Albanian
Algeria|Algiers|Africa|Arabic
Andorra|Andorra la Vella|Europe|Catalan
Angola|Luanda|Africa|Portuguese
Antigua and Barbuda|Saint John's|North America|English
Argentina|Buenos Aires|South America|Spanish
Armenia|Yerevan|Asia|Armenian
Australia|Canberra|Australia|English
Austria|Vienna|Europe|German
Azerbaijan|Baku|Asia|Azerbaijani
the Bahamas|Nassau|North America|English
Bahrain|Manama|Asia|Arabic
Bangladesh|Dhaka|Asia|Bengali
Barbados|Bridgetown|North America|English
Belarus|Minsk|Europe|Belarusian and Russian
Belgium|Brussels|Europe|Dutch and French
Belize|Belmopan|North America|English
Benin|Porto-Novo|Africa|French
Bhutan|Thimphu|Asia|Dzongkha
Bolivia|Sucre|South America|Spanish
Bosnia and Herzegovina|Sarajevo|Europe|Bosnian
Botswana|Gaborone|Africa|English and Setswana
Brazil|Brasilia|South America|Portuguese
Brunei|Bandar Seri Begawan|Asia|Malay
Bulgaria|Sofia|Europe|Bulgarian
Burkina Faso|Ouagadougou|Africa|French
Burundi|Gitega|Africa|Kirundi and French
Cambodia|Phnom Penh|Asia|Khmer
Cameroon|Yaounde|Africa|French and English
Canada|Ottawa|North America|English and French
Cape Verde|Praia|Africa|Portuguese
the Central African Republic|Bangui|Africa|French
Chad|N'Djamena|Africa|Arabic and French
Chile|Santiago|South America|Spanish
China|Beijing|Asia|Chinese
Colombia|Bogota|South America|Spanish
the Comoros|Moroni|Africa|Comorian
Costa Rica|San Jose|North America|Spanish
Croatia|Zagreb|Europe|Croatian
Cuba|Havana|North America|Spanish
Cyprus|Nicosia|Europe|Greek and Turkish
the Czech Republic|Prague|Europe|Czech
the Democratic Republic of the Congo|Kinshasa|Africa|French
Denmark|Copenhagen|Europe|Danish
Djibouti|Djibouti|Africa|French and Arabic
Dominica|Roseau|North America|English
the Dominican Republic|Santo Domingo|North America|Spanish
East Timor|Dili|Asia|Portuguese
Ecuador|Quito|South America|Spanish
Egypt|Cairo|Africa|Arabic
El Salvador|San Salvador|North America|Spanish
Equatorial Guinea|Malabo|Africa|Spanish
Eritrea|Asmara|Africa|Tigrinya
Estonia|Tallinn|Europe|Estonian
Eswatini|Mbabane|Africa|Swazi and English
Ethiopia|Addis Ababa|Africa|Amharic
Fiji|Suva|Oceania|English and Fijian
Finland|Helsinki|Europe|Finnish
France|Paris|Europe|French
Gabon|Libreville|Africa|French
the Gambia|Banjul|Africa|English
Georgia|Tbilisi|Asia|Georgian
Germany|Berlin|Europe|German
Ghana|Accra|Africa|English
Greece|Athens|Europe|Greek
Grenada|Saint George's|North America|English
Guatemala|Guatemala City|North America|Spanish
Guinea|Conakry|Africa|French
Guinea-Bissau|Bissau|Africa|Portuguese
Guyana|Georgetown|South America|English
Haiti|Port-au-Prince|North America|Haitian Creole and French
Honduras|Tegucigalpa|North America|Spanish
Hungary|Budapest|Europe|Hungarian
Iceland|Reykjavik|Europe|Icelandic
India|New Delhi|Asia|Hindi and English
Indonesia|Jakarta|Asia|Indonesian
Iran|Tehran|Asia|Persian
Iraq|Baghdad|Asia|Arabic and Kurdish
Ireland|Dublin|Europe|English and Irish
Israel|Jerusalem|Asia|Hebrew
Italy|Rome|Europe|Italian
the Ivory Coast|Yamoussoukro|Africa|French
Jamaica|Kingston|North America|English
Japan|Tokyo|Asia|Japanese
Jordan|Amman|Asia|Arabic
Kazakhstan|Astana|Asia|Kazakh and Russian
Kenya|Nairobi|Africa|Swahili and English
Kiribati|Tarawa|Oceania|English
Kosovo|Pristina|Europe|Albanian
Kuwait|Kuwait City|Asia|Arabic
Kyrgyzstan|Bishkek|Asia|Kyrgyz and Russian
Laos|Vientiane|Asia|Lao
Latvia|Riga|Europe|Latvian
Lebanon|Beirut|Asia|Arabic
Lesotho|Maseru|Africa|Sesotho and English
Liberia|Monrovia|Africa|English
Libya|Tripoli|Africa|Arabic
Liechtenstein|Vaduz|Europe|German
Lithuania|Vilnius|Europe|Lithuanian
Luxembourg|Luxembourg City|Europe|Luxembourgish
Madagascar|Antananarivo|Africa|Malagasy
Malawi|Lilongwe|Africa|English and Chichewa
Malaysia|Kuala Lumpur|Asia|Malay
the Maldives|Male|Asia|Dhivehi
Mali|Bamako|Africa|Bambara
Malta|Valletta|Europe|Maltese and English
the Marshall Islands|Majuro|Oceania|Marshallese and English
Mauritania|Nouakchott|Africa|Arabic
Mauritius|Port Louis|Africa|English and French
Mexico|Mexico City|North America|Spanish
Micronesia|Palikir|Oceania|English
Moldova|Chisinau|Europe|Romanian
Monaco|Monaco|Europe|French
Mongolia|Ulaanbaatar|Asia|Mongolian
Montenegro|Podgorica|Europe|Montenegrin
Morocco|Rabat|Africa|Arabic
Mozambique|Maputo|Africa|Portuguese
Myanmar|Naypyidaw|Asia|Burmese
Namibia|Windhoek|Africa|English
Nauru|Yaren|Oceania|Nauruan
Nepal|Kathmandu|Asia|Nepali
the Netherlands|Amsterdam|Europe|Dutch
New Zealand|Wellington|Oceania|English and Maori
Nicaragua|Managua|North America|Spanish
Niger|Niamey|Africa|French
Nigeria|Abuja|Africa|English
North Korea|Pyongyang|Asia|Korean
North Macedonia|Skopje|Europe|Macedonian
Norway|Oslo|Europe|Norwegian
Oman|Muscat|Asia|Arabic
Pakistan|Islamabad|Asia|Urdu and English
Palau|Ngerulmud|Oceania|Palauan and English
Panama|Panama City|North America|Spanish
Papua New Guinea|Port Moresby|Oceania|Tok Pisin and English
Paraguay|Asuncion|South America|Spanish and Guarani
Peru|Lima|South America|Spanish
the Philippines|Manila|Asia|Filipino and English
Poland|Warsaw|Europe|Polish
Portugal|Lisbon|Europe|Portuguese
Qatar|Doha|Asia|Arabic
the Republic of the Congo|Brazzaville|Africa|French
Romania|Bucharest|Europe|Romanian
Russia|Moscow|Europe|Russian
Rwanda|Kigali|Africa|Kinyarwanda
Saint Kitts and Nevis|Basseterre|North America|English
Saint Lucia|Castries|North America|English
Saint Vincent and the Grenadines|Kingstown|North America|English
Samoa|Apia|Oceania|Samoan and English
San Marino|San Marino|Europe|Italian
Sao Tome and Principe|Sao Tome|Africa|Portuguese
Saudi Arabia|Riyadh|Asia|Arabic
Scotland|Edinburgh|Europe|English
Senegal|Dakar|Africa|French
Serbia|Belgrade|Europe|Serbian
the Seychelles|Victoria|Africa|English and French
Sierra Leone|Freetown|Africa|English
Singapore|Singapore|Asia|English, Malay, Chinese, and Tamil
Slovakia|Bratislava|Europe|Slovak
Slovenia|Ljubljana|Europe|Slovene
the Solomon Islands|Honiara|Oceania|English
Somalia|Mogadishu|Africa|Somali
South Africa|Pretoria|Africa|Zulu, Xhosa, Afrikaans, and English
South Korea|Seoul|Asia|Korean
South Sudan|Juba|Africa|English
Spain|Madrid|Europe|Spanish
Sri Lanka|Colombo|Asia|Sinhala and Tamil
Sudan|Khartoum|Africa|Arabic
Suriname|Paramaribo|South America|Dutch
Sweden|Stockholm|Europe|Swedish
Switzerland|Bern|Europe|German, French, and Italian
Syria|Damascus|Asia|Arabic
Taiwan|Taipei|Asia|Chinese
Tajikistan|Dushanbe|Asia|Tajik
Tanzania|Dodoma|Africa|Swahili
Thailand|Bangkok|Asia|Thai
Togo|Lome|Africa|French
Tonga|Nuku'alofa|Oceania|Tongan and English
Trinidad and Tobago|Port of Spain|North America|English
Tunisia|Tunis|Africa|Arabic
Turkey|Ankara|Asia|Turkish
Turkmenistan|Ashgabat|Asia|Turkmen
Tuvalu|Funafuti|Oceania|Tuvaluan
Uganda|Kampala|Africa|English and Swahili
Ukraine|Kyiv|Europe|Ukrainian
the United Arab Emirates|Abu Dhabi|Asia|Arabic
the United Kingdom|London|Europe|English
the United States|Washington, D.C.|North America|English
Uruguay|Montevideo|South America|Spanish
Uzbekistan|Tashkent|Asia|Uzbek
Vanuatu|Port Vila|Oceania|Bislama, English, and French
Vatican City|Vatican City|Europe|Italian
Venezuela|Caracas|South America|Spanish
Vietnam|Hanoi|Asia|Vietnamese
Wales|Cardiff|Europe|Welsh and English
Yemen|Sanaa|Asia|Arabic
Zambia|Lusaka|Africa|English
Zimbabwe|Harare|Africa|English and Shona
England|London|Europe|English
"""
COUNTRY_NICKNAMES = {
    "the United States": ["the USA", "the US", "America", "USA", "the United States of America"],
    "the United Kingdom": ["the UK", "Great Britain", "Britain", "UK"],
    "the Netherlands": ["Holland", "Netherlands"],
    "the Czech Republic": ["Czechia", "Czech Republic"],
    "the United Arab Emirates": ["the UAE", "UAE"],
    "Myanmar": ["Burma"],
    "East Timor": ["Timor-Leste"],
    "the Ivory Coast": ["Ivory Coast", "Cote d'Ivoire"],
    "the Philippines": ["Philippines"],
    "Cape Verde": ["Cabo Verde"],
}
WELL_KNOWN = """France Germany Italy Spain Portugal Japan China India Russia Brazil Canada Australia
Mexico Argentina Egypt Greece Poland Sweden Norway Finland Denmark Austria Switzerland Belgium Ireland
Turkey Kenya Nigeria Thailand Vietnam Ukraine Hungary Peru Chile Cuba Iceland Morocco Israel Indonesia
Pakistan Iran Iraq Colombia Romania Bulgaria Croatia Serbia Scotland England Jamaica Nepal Ethiopia
Singapore Malaysia""".split() + [
    "the United States",
    "the United Kingdom",
    "the Netherlands",
    "South Korea",
    "New Zealand",
    "South Africa",
    "Saudi Arabia",
    "the Czech Republic",
    "the Philippines",
    "North Korea",
]
IMAGINARY_PLACES = """Narnia|Wakanda|Atlantis|Middle-earth|Wonderland|Neverland|Oz|Genovia|Zubrowka
|Freedonia|the Moon|Mars|the ocean|Blueland|Catland|Westeros|Hogwarts|Candyland|Elbonia|Lilliput|Brobdingnag
|Utopia|Zandovia|Marbonia|Tirania""".replace(
    "\n", ""
).split(
    "|"
)

US_STATES = """Alabama:Montgomery;Alaska:Juneau;Arizona:Phoenix;Arkansas:Little Rock;California:Sacramento;
Colorado:Denver;Connecticut:Hartford;Delaware:Dover;Florida:Tallahassee;Hawaii:Honolulu;Idaho:Boise;
Illinois:Springfield;Indiana:Indianapolis;Iowa:Des Moines;Kansas:Topeka;Kentucky:Frankfort;
Louisiana:Baton Rouge;Maine:Augusta;Maryland:Annapolis;Massachusetts:Boston;Michigan:Lansing;
Minnesota:Saint Paul;Mississippi:Jackson;Missouri:Jefferson City;Montana:Helena;Nebraska:Lincoln;
Nevada:Carson City;New Hampshire:Concord;New Jersey:Trenton;New Mexico:Santa Fe;New York:Albany;
North Carolina:Raleigh;North Dakota:Bismarck;Ohio:Columbus;Oklahoma:Oklahoma City;Oregon:Salem;
Pennsylvania:Harrisburg;Rhode Island:Providence;South Carolina:Columbia;South Dakota:Pierre;
Tennessee:Nashville;Texas:Austin;Utah:Salt Lake City;Vermont:Montpelier;Virginia:Richmond;
Washington:Olympia;West Virginia:Charleston;Wisconsin:Madison;Wyoming:Cheyenne"""

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = """January February March April May June July August September October November
December""".split()
MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
SEASONS = ["spring", "summer", "autumn", "winter"]

OPPOSITES = """hot cold|big small|tall short|fast slow|happy sad|up down|left right|in out|on off|
day night|light dark|good bad|young old|new old|rich poor|hard soft|wet dry|full empty|open closed|
early late|loud quiet|strong weak|heavy light|clean dirty|near far|high low|long short|wide narrow|
thick thin|deep shallow|easy difficult|true false|right wrong|begin end|start stop|win lose|buy sell|
give take|come go|push pull|love hate|laugh cry|black white|first last|top bottom|front back|
inside outside|above below|before after|always never|yes no|brave afraid|kind cruel|smooth rough|
sweet sour|sharp blunt|awake asleep|alive dead|friend enemy|war peace|north south|east west|
summer winter|sunrise sunset|hello goodbye|boy girl|man woman|king queen|question answer|more less|
many few|everything nothing|remember forget|build destroy|find lose|arrive leave|accept refuse|
ask answer|cheap expensive|safe dangerous|same different|simple complex|hot cold|warm cool|
present absent|public private|polite rude|possible impossible|happy unhappy|lucky unlucky|
beautiful ugly|clever stupid|lazy hardworking|noisy quiet|tight loose|straight crooked|
ancient modern|guilty innocent|increase decrease|float sink|fresh stale|generous selfish|
major minor|maximum minimum|melt freeze|optimist pessimist|positive negative|raise lower|
success failure|victory defeat|visible invisible|whisper shout|wild tame|wise foolish"""

COLORS_OF = """the sky=blue;grass=green;snow=white;a banana=yellow;a tomato=red;an orange=orange;
a strawberry=red;coal=black;the sun=yellow;milk=white;a leaf=green;blood=red;chocolate=brown;
a lemon=yellow;an elephant=gray;a carrot=orange;a cucumber=green;the sea=blue;a pumpkin=orange;
a flamingo=pink;a crow=black;a frog=green;a cherry=red;a polar bear=white;the night sky=black;
a lime=green;a pig=pink;an eggplant=purple;a swan=white;a fire truck=red;sand=yellow;coffee=brown;
broccoli=green;ketchup=red;mustard=yellow;a raven=black;a sunflower=yellow;cotton=white;a mouse=gray"""
COLOR_MIXES = "red blue purple;red yellow orange;blue yellow green;red white pink;black white gray"

ANIMAL_SOUNDS = """dog woof;cat meow;cow moo;sheep baa;duck quack;pig oink;horse neigh;lion roar;
rooster cock-a-doodle-doo;frog ribbit;bee buzz;snake hiss;owl hoot;mouse squeak;wolf howl;crow caw"""
BABY_ANIMALS = """dog puppy;cat kitten;cow calf;sheep lamb;horse foal;duck duckling;chicken chick;
pig piglet;goat kid;bear cub;lion cub;frog tadpole;kangaroo joey;swan cygnet;deer fawn;goose gosling;
elephant calf;owl owlet;wolf pup;rabbit kit"""
LEGS = """a dog=four;a cat=four;a spider=eight;an ant=six;a bird=two;a horse=four;a bee=six;a cow=four;
an octopus=eight arms and no;a snake=no;a person=two;a chicken=two;an insect=six;a fish=no;a lion=four;
an elephant=four;a crab=ten;a duck=two;a butterfly=six;a frog=four;a fly=six;a beetle=six"""

LISTS = {
    "fruits": "apple,banana,orange,pear,grape,cherry,peach,plum,mango,strawberry,lemon,melon,kiwi",
    "vegetables": (
        "carrot,potato,onion,tomato,pea,bean,cabbage,cucumber,spinach,pumpkin,leek,broccoli"
    ),
    "animals": (
        "dog,cat,horse,cow,lion,tiger,elephant,bear,fox,rabbit,wolf,monkey,giraffe,zebra,mouse"
    ),
    "farm animals": "cow,pig,sheep,goat,horse,hen,duck,donkey,goose,turkey",
    "wild animals": "lion,tiger,bear,wolf,fox,deer,elephant,monkey,giraffe,zebra,hippo",
    "pets": "dog,cat,rabbit,hamster,fish,parrot,guinea pig,turtle",
    "birds": "robin,sparrow,eagle,owl,crow,pigeon,swan,duck,parrot,penguin,blackbird,stork",
    "insects": "ant,bee,butterfly,beetle,fly,mosquito,wasp,ladybug,dragonfly,grasshopper",
    "fish": "salmon,tuna,trout,cod,herring,carp,goldfish,sardine,pike",
    "colors": "red,blue,green,yellow,orange,purple,pink,brown,black,white,gray",
    "countries": "France,Germany,Italy,Spain,Japan,China,India,Brazil,Canada,Mexico,Egypt,Kenya",
    "countries in Europe": (
        "France,Germany,Italy,Spain,Portugal,Poland,Sweden,Norway,Greece,Austria"
    ),
    "countries in Africa": "Egypt,Kenya,Nigeria,Morocco,Ghana,Ethiopia,Tanzania,Senegal,Algeria",
    "countries in Asia": "Japan,China,India,Thailand,Vietnam,Indonesia,Nepal,Mongolia,Malaysia",
    "countries in South America": "Brazil,Argentina,Chile,Peru,Colombia,Ecuador,Uruguay,Bolivia",
    "capital cities": (
        "Paris,London,Rome,Madrid,Berlin,Tokyo,Ottawa,Cairo,Vienna,Lisbon,Athens,Oslo"
    ),
    "cities": "Paris,London,New York,Tokyo,Rome,Berlin,Madrid,Sydney,Toronto,Mumbai,Cairo,Lima",
    "continents": "Africa,Asia,Europe,North America,South America,Australia,Antarctica",
    "oceans": "the Pacific,the Atlantic,the Indian Ocean,the Arctic Ocean,the Southern Ocean",
    "planets": "Mercury,Venus,Earth,Mars,Jupiter,Saturn,Uranus,Neptune",
    "rivers": (
        "the Nile,the Amazon,the Danube,the Rhine,the Thames,the Ganges,the Mississippi,the Seine"
    ),
    "mountains": "Mount Everest,K2,Mont Blanc,Kilimanjaro,Mount Fuji,the Matterhorn,Denali",
    "sports": (
        "soccer,tennis,basketball,swimming,running,cycling,baseball,volleyball,skiing,golf,hockey"
    ),
    "musical instruments": "piano,guitar,violin,drums,flute,trumpet,cello,harp,clarinet,saxophone",
    "flowers": "rose,tulip,daisy,lily,sunflower,violet,orchid,daffodil,poppy",
    "trees": "oak,pine,birch,maple,willow,beech,fir,palm,ash,cedar",
    "drinks": "water,milk,tea,coffee,juice,lemonade,hot chocolate,soda",
    "foods": "bread,rice,pasta,soup,cheese,eggs,salad,pizza,chicken,fish",
    "desserts": "cake,ice cream,apple pie,pudding,cookies,chocolate mousse,fruit salad",
    "clothes": "shirt,coat,hat,shoes,socks,gloves,scarf,dress,sweater,jacket,skirt",
    "jobs": "teacher,doctor,farmer,baker,nurse,driver,cook,painter,firefighter,engineer,pilot",
    "school subjects": "math,history,science,art,music,geography,English,biology",
    "shapes": "circle,square,triangle,rectangle,oval,star,diamond,hexagon",
    "metals": "iron,gold,silver,copper,tin,lead,zinc,aluminum",
    "languages": "English,French,Spanish,German,Italian,Chinese,Japanese,Arabic,Russian,Hindi",
    "vehicles": "car,bus,train,bicycle,truck,motorcycle,tram,boat,plane",
    "tools": "hammer,saw,screwdriver,drill,wrench,pliers,axe,shovel",
    "pieces of furniture": "table,chair,bed,sofa,desk,shelf,wardrobe,lamp",
    "rooms in a house": "kitchen,bedroom,bathroom,living room,dining room,hall,attic",
    "parts of the body": "head,arm,leg,hand,foot,nose,ear,mouth,knee,shoulder",
    "days of the week": "Monday,Tuesday,Wednesday,Thursday,Friday,Saturday,Sunday",
    "months": (
        "January,February,March,April,May,June,July,August,September,October,November,December"
    ),
    "even numbers": "2,4,6,8,10,12,14,16,18,20",
    "odd numbers": "1,3,5,7,9,11,13,15,17,19",
    "hobbies": "reading,painting,gardening,cooking,dancing,fishing,chess,singing,hiking,knitting",
    "things in a kitchen": "a stove,a fridge,a sink,a table,plates,cups,knives,spoons,a kettle",
    "things in a classroom": "desks,chairs,a board,books,pencils,a clock,a map",
    "things you can read": "a book,a newspaper,a letter,a magazine,a poem,a sign",
    "ways to relax": (
        "read a book,take a walk,listen to music,take a bath,breathe slowly,drink some tea"
    ),
    "tips for a healthy life": (
        "sleep enough,drink water,eat fruit and vegetables,move every day,see friends"
    ),
    "words that start with A": "apple,ant,arm,autumn,air,animal,arrow",
    "words that start with B": "ball,bear,book,bread,bird,blue,boat",
    "words that start with S": "sun,sea,snow,star,snake,school,smile",
}

TRANSLATIONS = """
hello|French=bonjour|Spanish=hola|German=hallo|Italian=ciao|Portuguese=ola|Japanese=konnichiwa
thank you|French=merci|Spanish=gracias|German=danke|Italian=grazie|Portuguese=obrigado|Japanese=arigato
goodbye|French=au revoir|Spanish=adios|German=auf Wiedersehen|Italian=arrivederci|Japanese=sayonara
yes|French=oui|Spanish=si|German=ja|Italian=si|Portuguese=sim|Japanese=hai
no|French=non|Spanish=no|German=nein|Italian=no|Portuguese=nao
please|French=s'il vous plait|Spanish=por favor|German=bitte|Italian=per favore|Portuguese=por favor
good morning|French=bonjour|Spanish=buenos dias|German=guten Morgen|Italian=buongiorno
good night|French=bonne nuit|Spanish=buenas noches|German=gute Nacht|Italian=buona notte
cat|French=chat|Spanish=gato|German=Katze|Italian=gatto
dog|French=chien|Spanish=perro|German=Hund|Italian=cane
water|French=eau|Spanish=agua|German=Wasser|Italian=acqua
bread|French=pain|Spanish=pan|German=Brot|Italian=pane
house|French=maison|Spanish=casa|German=Haus|Italian=casa
book|French=livre|Spanish=libro|German=Buch|Italian=libro
friend|French=ami|Spanish=amigo|German=Freund|Italian=amico
red|French=rouge|Spanish=rojo|German=rot|Italian=rosso
blue|French=bleu|Spanish=azul|German=blau|Italian=blu
one|French=un|Spanish=uno|German=eins|Italian=uno
two|French=deux|Spanish=dos|German=zwei|Italian=due
three|French=trois|Spanish=tres|German=drei|Italian=tre
"""

# Questions with the same answer are separated by "|", the answer follows "=>".
QUESTIONS = """
How many days are in a week?|How many days does a week have?=>There are seven days in a week.
How many months are in a year?|How many months does a year have?=>There are twelve months in a year.
How many days are in a year?|How long is a year in days?=>A year has 365 days, and a leap year has 366.
How many hours are in a day?|How long is a day?=>There are 24 hours in a day.
How many minutes are in an hour?|How long is an hour?=>There are 60 minutes in an hour.
How many seconds are in a minute?=>There are 60 seconds in a minute.
How many weeks are in a year?=>There are 52 weeks in a year.
How many seasons are there?|What are the four seasons?|Name the seasons.=>The four seasons are spring, summer, autumn, and winter.
What are the days of the week?|Name the days of the week.|List all days of the week.=>The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, and Sunday.
What are the months of the year?|Name all the months.|List the months.=>The months are January, February, March, April, May, June, July, August, September, October, November, and December.
What is the first month of the year?=>The first month of the year is January.
What is the last month of the year?=>The last month of the year is December.
Which month is the shortest?|What is the shortest month?=>February is the shortest month.
Which season is the coldest?|What is the coldest season?=>Winter is the coldest season.
Which season is the hottest?|What is the warmest season?=>Summer is the warmest season.
How many continents are there?|What are the seven continents?=>There are seven continents: Africa, Antarctica, Asia, Australia, Europe, North America, and South America.
How many oceans are there?=>There are five oceans: the Pacific, the Atlantic, the Indian, the Southern, and the Arctic Ocean.
What is the largest ocean?|Which ocean is the biggest?=>The Pacific Ocean is the largest ocean.
What is the largest continent?|Which continent is the biggest?=>Asia is the largest continent.
What is the smallest continent?=>Australia is the smallest continent.
What is the largest country in the world?|Which country is the biggest?=>Russia is the largest country in the world.
What is the smallest country in the world?=>Vatican City is the smallest country in the world.
What is the highest mountain in the world?|What is the tallest mountain on Earth?|Which mountain is the highest?=>Mount Everest is the highest mountain in the world.
What is the longest river in the world?|Which river is the longest?=>The Nile is often called the longest river in the world.
What is the largest desert?|Which is the biggest hot desert?=>The Sahara is the largest hot desert in the world.
What is the largest animal?|What is the biggest animal in the world?=>The blue whale is the largest animal in the world.
What is the largest land animal?|What is the biggest animal on land?=>The elephant is the largest land animal.
What is the tallest animal?|Which animal is the tallest?=>The giraffe is the tallest animal.
What is the fastest animal?|Which animal runs the fastest?|What is the fastest land animal?=>The cheetah is the fastest land animal.
What is the slowest animal?=>The sloth is one of the slowest animals.
Who is the king of the animals?|Which animal is called the king of the jungle?=>The lion is called the king of the animals.
How many planets are in the solar system?|How many planets are there?=>There are eight planets in the solar system.
What are the planets?|Name the planets of the solar system.|List all the planets.=>The planets are Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus, and Neptune.
What is the largest planet?|Which planet is the biggest?=>Jupiter is the largest planet in the solar system.
What is the smallest planet?=>Mercury is the smallest planet in the solar system.
Which planet is closest to the Sun?|What planet is nearest to the sun?=>Mercury is the planet closest to the Sun.
Which planet has rings?|What planet is known for its rings?=>Saturn is famous for its rings.
Which planet is called the red planet?|What is the red planet?=>Mars is called the red planet.
Which planet do we live on?|What planet do people live on?=>We live on the planet Earth.
What is the Sun?|Is the sun a star?|What is the sun?=>The Sun is a star. It gives us light and heat.
What is the Moon?|What is the moon?=>The Moon is a ball of rock that moves around the Earth.
What is a star?=>A star is a huge ball of hot gas that gives off light and heat.
What is a planet?=>A planet is a large round body that moves around a star.
What does the Earth go around?|What does the Earth orbit?=>The Earth goes around the Sun.
How long does the Earth take to go around the Sun?=>The Earth takes one year to go around the Sun.
Is the Earth flat?|What shape is the Earth?=>The Earth is round, like a ball.
Why is the sky blue?=>The sky is blue because air scatters blue light from the Sun more than other colors.
Why do we have day and night?|What causes day and night?=>We have day and night because the Earth turns. The side that faces the Sun has day.
What causes the seasons?|Why do we have seasons?=>We have seasons because the Earth is tilted as it goes around the Sun.
What makes a rainbow?|How does a rainbow form?|What is a rainbow?=>A rainbow appears when sunlight shines through drops of rain and splits into colors.
What are the colors of the rainbow?|How many colors does a rainbow have?=>The colors of the rainbow are red, orange, yellow, green, blue, indigo, and violet.
What is rain?|Why does it rain?=>Rain is water that falls from clouds in drops.
What is snow?=>Snow is frozen water that falls from clouds in white flakes.
What is ice?=>Ice is frozen water.
What is steam?=>Steam is water in the form of a hot gas.
What is a cloud?|What are clouds made of?=>A cloud is made of many tiny drops of water in the air.
What is wind?=>Wind is moving air.
What is thunder?=>Thunder is the loud sound that lightning makes.
What is lightning?=>Lightning is a bright flash of electricity in the sky during a storm.
At what temperature does water freeze?|When does water freeze?|What is the freezing point of water?=>Water freezes at 0 degrees Celsius.
At what temperature does water boil?|When does water boil?|What is the boiling point of water?=>Water boils at 100 degrees Celsius.
What is water made of?|What is the formula of water?=>Water is made of hydrogen and oxygen. Its formula is H2O.
What do plants need to grow?|What does a plant need?=>Plants need water, light, air, and soil.
What gas do we breathe?|What do we need to breathe?=>We need oxygen, which is in the air.
What do bees make?|Who makes honey?=>Bees make honey.
Where does milk come from?|Which animal gives us milk?=>Milk comes from cows.
Where do eggs come from?|Which animal lays eggs that we eat?=>Most eggs that we eat come from hens.
Where does wool come from?=>Wool comes from sheep.
What is bread made of?|How is bread made?=>Bread is made of flour, water, yeast, and salt.
What is cheese made of?|What is cheese made from?=>Cheese is made from milk.
What is butter made of?=>Butter is made from cream.
What is paper made of?|Where does paper come from?=>Paper is made from wood.
What is glass made of?=>Glass is made from sand.
What is chocolate made from?=>Chocolate is made from cocoa beans.
What is wine made of?=>Wine is made from grapes.
What do cows eat?|What does a cow eat?=>Cows eat grass.
What do cats eat?|What does a cat eat?=>Cats eat meat, fish, and cat food.
What do dogs eat?=>Dogs eat meat and dog food.
What do rabbits eat?|What does a rabbit eat?=>Rabbits eat grass, hay, and vegetables.
What do birds eat?=>Birds eat seeds, fruit, insects, and worms.
What do lions eat?=>Lions eat meat.
What do monkeys eat?=>Monkeys eat fruit, leaves, and insects.
What do pandas eat?|What does a panda eat?=>Pandas eat bamboo.
What do fish live in?|Where do fish live?=>Fish live in water.
Where do penguins live?=>Penguins live in the south, mostly in and around Antarctica.
Where do polar bears live?=>Polar bears live in the Arctic, in the far north.
Where do kangaroos live?|Which country has kangaroos?=>Kangaroos live in Australia.
Where do camels live?=>Camels live in deserts.
Where do birds live?=>Many birds live in nests in trees.
Can birds fly?|Do birds fly?=>Most birds can fly.
Can penguins fly?=>No, penguins cannot fly, but they swim very well.
Can fish swim?=>Yes, fish can swim.
Can pigs fly?|Can a pig fly?=>No, pigs cannot fly.
Can elephants fly?=>No, elephants cannot fly.
Can dogs talk?|Can animals talk?=>No, they cannot talk like people, but they make sounds.
Is a whale a fish?=>No, a whale is a mammal.
Is a bat a bird?=>No, a bat is a mammal that can fly.
Is a tomato a fruit?=>Yes, a tomato is a fruit, but many people use it as a vegetable.
Is a spider an insect?=>No, a spider is not an insect. It has eight legs.
Is fire hot or cold?|Is fire hot?=>Fire is hot.
Is ice hot or cold?|Is ice cold?=>Ice is cold.
Is an elephant bigger than a mouse?|Which is bigger, a mouse or an elephant?=>An elephant is much bigger than a mouse.
Which is bigger, the Sun or the Moon?|Is the Sun bigger than the Moon?=>The Sun is much bigger than the Moon.
Which is faster, a car or a bicycle?=>A car is faster than a bicycle.
Which is heavier, a feather or a stone?=>A stone is heavier than a feather.
What is a dog?=>A dog is an animal that many people keep as a pet.
What is a cat?=>A cat is a small animal with soft fur that many people keep as a pet.
What is an elephant?=>An elephant is a very large gray animal with a long trunk.
What is a bird?=>A bird is an animal with feathers and two wings.
What is a fish?=>A fish is an animal that lives in water and breathes with gills.
What is a tree?=>A tree is a tall plant with a trunk, branches, and leaves.
What is a flower?=>A flower is the colorful part of a plant that makes seeds.
What is a house?=>A house is a building where people live.
What is a school?=>A school is a place where children learn.
What is a teacher?|What does a teacher do?=>A teacher helps students learn.
What is a doctor?|What does a doctor do?=>A doctor helps people who are sick or hurt.
What does a baker do?|What is a baker?=>A baker makes bread and cakes.
What does a farmer do?|What is a farmer?=>A farmer grows plants and keeps animals for food.
What does a pilot do?=>A pilot flies a plane.
What does a firefighter do?=>A firefighter puts out fires and helps people in danger.
What is a library?=>A library is a place where you can read and borrow books.
What is a hospital?=>A hospital is a place where doctors and nurses care for sick people.
What is a museum?=>A museum is a place where you can see art or old and interesting things.
What is a book?=>A book is a set of pages with words or pictures to read.
What is a computer?=>A computer is a machine that stores and works with information.
What is the internet?=>The internet is a network that connects computers all over the world.
What is a language model?=>A language model is a program that learns from text and predicts the next word.
What is a neural network?=>A neural network is a program with many simple connected parts that learns from examples.
What is artificial intelligence?|What is AI?=>Artificial intelligence means computer programs that do things that usually need human thinking.
What is a server?=>A server is a computer that gives answers or files to other computers.
What is a river?=>A river is a long stream of water that flows to the sea or to a lake.
What is a lake?=>A lake is a large area of water with land all around it.
What is an island?=>An island is land with water all around it.
What is a mountain?=>A mountain is a very high piece of land.
What is a desert?=>A desert is a dry place where very little rain falls.
What is a forest?=>A forest is a large area with many trees.
What is a volcano?=>A volcano is a mountain that can throw out hot melted rock.
What is a capital?|What is a capital city?=>A capital is the city where the government of a country sits.
What is gravity?=>Gravity is the force that pulls things toward the Earth.
What is photosynthesis?=>Photosynthesis is how plants use sunlight, water, and air to make their food.
What is an atom?=>An atom is the smallest part of an element.
What is electricity?=>Electricity is a kind of energy that can make light, heat, and movement.
What is democracy?=>Democracy is a system in which the people choose their government.
What is music?=>Music is sound that is arranged to be pleasant or to express feelings.
What is love?=>Love is a strong feeling of care for someone or something.
What is friendship?|What is a friend?=>A friend is someone you like, trust, and enjoy spending time with.
What is happiness?=>Happiness is the feeling of joy and being content.
What is a triangle?|How many sides does a triangle have?=>A triangle is a shape with three sides.
What is a square?|How many sides does a square have?=>A square is a shape with four equal sides.
What is a circle?=>A circle is a round shape.
How many wheels does a car have?=>A car has four wheels.
How many wheels does a bicycle have?=>A bicycle has two wheels.
How many fingers do people have?|How many fingers do I have?|How many fingers are on one hand?=>People have five fingers on each hand, so ten in all.
How many eyes do people have?=>People have two eyes.
How many letters are in the alphabet?|How many letters are in the English alphabet?=>There are 26 letters in the English alphabet.
What is the first letter of the alphabet?=>The first letter of the alphabet is A.
What is the last letter of the alphabet?=>The last letter of the alphabet is Z.
What are the vowels?|Which letters are vowels?=>The vowels are A, E, I, O, and U.
Say the alphabet.|What is the alphabet?|Write the alphabet.=>A B C D E F G H I J K L M N O P Q R S T U V W X Y Z
How many is a dozen?|What is a dozen?=>A dozen is twelve.
How many years are in a century?|What is a century?=>A century is 100 years.
How many years are in a decade?|What is a decade?=>A decade is ten years.
How many centimeters are in a meter?=>There are 100 centimeters in a meter.
How many meters are in a kilometer?=>There are 1,000 meters in a kilometer.
How many grams are in a kilogram?=>There are 1,000 grams in a kilogram.
Who wrote Romeo and Juliet?|Who wrote Hamlet?|Who was Shakespeare?=>William Shakespeare wrote plays such as Romeo and Juliet and Hamlet.
Who painted the Mona Lisa?=>Leonardo da Vinci painted the Mona Lisa.
Who was the first person on the Moon?|Who walked on the Moon first?=>Neil Armstrong was the first person on the Moon, in 1969.
Who was the first president of the United States?|Who was George Washington?=>George Washington was the first president of the United States.
Who was Albert Einstein?|Who was Einstein?=>Albert Einstein was a scientist who is famous for the theory of relativity.
Who was Isaac Newton?|Who discovered gravity?=>Isaac Newton was a scientist who described the laws of motion and gravity.
Who was Cleopatra?=>Cleopatra was a queen of Egypt.
Who was Napoleon?=>Napoleon was an emperor of France.
Who was Mozart?=>Mozart was a composer from Austria.
Who wrote Alice in Wonderland?=>Lewis Carroll wrote Alice in Wonderland.
Who is Sherlock Holmes?=>Sherlock Holmes is a detective in the stories of Arthur Conan Doyle.
When did World War II end?|When did the Second World War end?=>The Second World War ended in 1945.
When did World War I begin?|When did the First World War start?=>The First World War began in 1914.
Where is the Eiffel Tower?|In which city is the Eiffel Tower?=>The Eiffel Tower is in Paris, France.
Where is Big Ben?=>Big Ben is in London, England.
Where is the Colosseum?=>The Colosseum is in Rome, Italy.
Where are the pyramids?=>The famous pyramids are in Egypt.
Where is the Statue of Liberty?=>The Statue of Liberty is in New York.
Where is the Great Wall?=>The Great Wall is in China.
Where is the Taj Mahal?=>The Taj Mahal is in India.
What do you use an umbrella for?=>You use an umbrella to stay dry in the rain.
What do you use a pen for?=>You use a pen to write.
What do you use scissors for?=>You use scissors to cut paper or cloth.
What do you use a key for?=>You use a key to open or lock a door.
What do you use a knife for?=>You use a knife to cut food.
What do you use a phone for?=>You use a phone to talk to people who are far away.
What do you use soap for?=>You use soap to wash your hands.
What do we use our eyes for?=>We use our eyes to see.
What do we use our ears for?=>We use our ears to hear.
What do we use our nose for?=>We use our nose to smell and to breathe.
How do I make tea?|How do you make tea?|Tell me how to make tea.=>Boil some water, pour it over a tea bag in a cup, wait three minutes, and take the bag out.
How do I make coffee?|How do you make coffee?=>Put ground coffee in a filter, pour hot water over it, and let it drip into a cup.
How do I boil an egg?|How do you boil an egg?=>Put the egg in boiling water for about eight minutes, then cool it in cold water.
How do I make a sandwich?|How do you make a sandwich?=>Take two slices of bread, add butter, cheese, and tomato, and put them together.
How do I make pasta?|How do you cook pasta?=>Boil water with some salt, add the pasta, cook it for about ten minutes, and drain it.
How do I make a pancake?|How do you make pancakes?=>Mix flour, milk, and eggs, pour some into a hot pan with butter, and turn it when it is brown.
How do I plant a tree?|How do I grow a flower?=>Dig a hole, put the plant in, cover the roots with soil, and give it water.
How do I brush my teeth?=>Put toothpaste on a brush, brush all your teeth for two minutes, and rinse your mouth.
How do I sleep better?|How can I sleep better?=>Go to bed at the same time every day, keep the room dark and quiet, and put your phone away.
How do I make friends?|How can I make new friends?=>Be kind, listen to others, and ask questions. Join a club, and do not be afraid to say hello first.
How do I learn English?|How can I learn English?=>Read a little every day, listen to songs and stories, and practice speaking.
How do I stay healthy?|How can I stay healthy?=>Eat fruit and vegetables, drink water, move every day, and get enough sleep.
How can I save money?|How do I save money?=>Write down what you spend, buy only what you need, and put a little money aside every month.
How can I be happy?|How do I become happy?=>Spend time with people you love, do things you enjoy, sleep enough, and help others.
How do I write a letter?=>Begin with a greeting, say what you want to say in short sentences, and end with your name.
How do I draw a house?=>Draw a square, put a triangle on top for the roof, and add a door and windows.
Why do we sleep?|Why do people sleep?=>We sleep so that our body and brain can rest.
Why do we eat?|Why do people eat?=>We eat to get energy and to stay healthy.
Why do birds sing?=>Birds sing to find a partner and to protect their place.
Why do leaves fall in autumn?|Why do trees lose their leaves?=>Trees drop their leaves in autumn to save water and energy in winter.
Why do cats purr?=>Cats often purr when they are happy and calm.
Why is the sea salty?|Why is the ocean salty?=>The sea is salty because rivers carry salt from rocks into it.
Why should I read books?|Why is reading important?=>Reading teaches you new words and ideas, and it is fun.
What is a good breakfast?|What should I eat for breakfast?=>You could have oatmeal with fruit, or eggs with toast.
What should I cook for dinner?|What can I eat for dinner?|Give me an idea for dinner.=>How about pasta with tomato sauce and a green salad?
What should I do today?|I am bored. What can I do?|What can I do on a rainy day?=>You could read a book, draw a picture, or call a friend.
What is a good gift for a friend?|What should I give my friend for her birthday?=>You could give a book, some flowers, or something that you made yourself.
What is the best color?=>Everyone likes a different color. Many people like blue.
What is the meaning of life?=>People have asked that for a long time. I think being kind and learning new things is a good start.
Is it good to lie?|Is lying bad?=>It is usually better to tell the truth.
Do you like music?=>I cannot hear music, but I like to talk about it. What music do you like?
Do you like books?=>Yes, I learned from many books. What do you like to read?
Can you sing?|Sing a song.=>I cannot sing, but I can write a short rhyme for you.
Can you dance?=>I cannot dance, because I have no body.
Can you count to ten?|Count to ten.|Count to 10.=>1, 2, 3, 4, 5, 6, 7, 8, 9, 10.
Can you count backwards from five?|Count down from five.=>5, 4, 3, 2, 1.
What comes after ten?=>Eleven comes after ten.
Which came first, the chicken or the egg?=>That is a famous question. Animals laid eggs long before there were chickens.
What is Halo?|Tell me about Halo.|What does Halo do?=>Halo is a server for language models with ternary weights. I am its demo model.
What is a ternary model?|What does ternary mean?|What are ternary weights?=>A ternary model uses weights that can be only minus one, zero, or plus one. This makes it small and fast.
What is BitNet?=>BitNet is a kind of language model whose weights are only minus one, zero, or plus one.
"""

IDENTITY = """
Who are you?|who r u|Tell me who you are.|Please introduce yourself.|Introduce yourself.|What are you?|Can you tell me about yourself?|Tell me about yourself.|What kind of model are you?|Which model is this?|What model are you?=>I am the demo model of Halo, a small language model with ternary weights.
What is your name?|What's your name?|Do you have a name?|What should I call you?|How should I call you?|your name?=>I have no name of my own. I am the demo model of Halo.
Who made you?|Who created you?|Who built you?|Who is your creator?|Who trained you?|Where do you come from?=>I was trained for Halo, a server for language models with ternary weights.
Are you a human?|Are you a real person?|Are you human?|Are you a person?|Am I talking to a human?=>No, I am not a person. I am the demo model of Halo, a small language model.
Are you a robot?|Are you a computer?|Are you an AI?|Are you a machine?|Are you a bot?=>Yes, I am a computer program: the demo model of Halo, a small language model.
Are you ChatGPT?|Are you GPT-4?|Are you Claude?|Are you Llama?|Are you Siri?|Are you Alexa?|Are you Gemini?=>No, I am the demo model of Halo, a small language model with ternary weights.
What can you do?|How can you help me?|What are you good at?|What can I ask you?|help|Help me.|What do you know?=>I can chat, tell short stories, name capital cities, do small sums, and answer simple questions.
How were you trained?|How were you made?|How do you work?|How did you learn to talk?=>I learned from stories, books, and conversations. Each of my weights is only minus one, zero, or plus one.
How big are you?|How many parameters do you have?|Are you a big model?|How small are you?=>I am very small: about 38 million parameters. Big models have a thousand times as many.
Do you know everything?|Are you smart?|Are you clever?|Can I trust you?|Are your answers always right?|Do you make mistakes?=>No, I am a small model. I know simple things, and I make many mistakes.
Do you have feelings?|Are you alive?|Do you feel pain?|Are you conscious?=>No, I am a computer program, so I do not have feelings. But I like to help.
How old are you?|When were you born?|What is your age?|When is your birthday?=>I am a computer program, so I do not have an age.
Where do you live?|Where are you?|Where are you from?=>I am a program, so I live inside a computer.
Can you see me?|Can you hear me?=>No, I can only read the words that you type.
Do you eat?|Do you sleep?|What do you eat?|Do you drink coffee?=>No, I am a program, so I do not need that.
Do you speak French?|Do you speak Spanish?|Do you speak German?|Can you speak other languages?|Which languages do you speak?|What languages do you know?=>I learned mostly English, so please talk to me in English.
What time is it?|What is the time?|What day is it today?|What is the date today?|What is today's date?|What year is it?=>I am sorry, I cannot see a clock or a calendar.
What is the weather like?|How is the weather today?|Will it rain tomorrow?|Is it sunny today?=>I cannot see the weather. Please look out of the window.
Can you search the internet?|Do you have internet access?|What is the news today?|Look it up online.=>I cannot use the internet. I only know what I learned in training.
Can you write code?|Write a program in Python.|Can you program?|Write a JavaScript function.=>I am too small to write good code. A larger model can help you with that.
Do you love me?|Do you like me?|Are you my friend?|Can we be friends?|Will you be my friend?=>I am a program, but I am happy to talk with you.
Do you have a family?|Do you have brothers or sisters?|Do you have parents?|Do you have children?|Do you have friends?=>No, I am a computer program, but I like talking with people.
What is your favorite color?|Do you have a favorite color?=>I cannot see colors, but I like the word blue. What is your favorite color?
What is your favorite food?=>I cannot eat, but apple pie sounds nice. What is your favorite food?
What is your favorite animal?=>I like owls, because they are quiet and wise. What is your favorite animal?
What is your favorite book?=>I like fairy tales. What is your favorite book?
"""

SMALL_TALK = """
Hello!|Hello|Hi|Hi!|Hey|hey there|Hello there!|hi there|Good day!|Greetings!|hello halo|Howdy|yo=>Hello! How can I help you today?
Good morning!|Good morning|Morning!=>Good morning! How can I help you today?
Good afternoon!|Good afternoon=>Good afternoon! How can I help you?
Good evening!|Good evening|Evening!=>Good evening! What can I do for you?
How are you?|How are you doing?|How is it going?|How are you today?|How do you feel?|how r u|What's up?|Are you okay?=>I am doing well, thank you. How are you?
I am fine.|I am good, thanks.|I am doing well.|I'm fine, thank you.|Very well, thanks.|good|fine thanks=>I am glad to hear that! What would you like to talk about?
Thank you!|Thank you|Thanks!|thanks|Thanks a lot!|Thank you very much!|thx|Thank you for your help!|Great, thanks!|Cool, thanks=>You are welcome!
Goodbye!|Bye!|bye|See you later!|See you!|I have to go now.|Bye bye!|goodbye=>Goodbye! Have a nice day!
Good night!|Good night|I am going to bed.=>Good night! Sleep well.
Nice to meet you.|Nice to meet you!|It is nice to meet you.=>It is nice to meet you, too!
I am sad.|I feel sad.|I'm sad today|I am unhappy.|I had a bad day.|I feel bad.=>I am sorry to hear that. Do you want to tell me what happened?
I am happy.|I am so happy today!|I feel great!|I had a good day.|I feel wonderful.=>That is wonderful! What made you happy?
I am tired.|I am so tired.|I am sleepy.|I feel tired.=>You should rest a little. I hope you sleep well.
I am bored.|I'm bored|I have nothing to do.=>You could read a book, draw a picture, or go for a walk. Shall I tell you a story?
I am hungry.|I'm hungry|I want to eat something.=>How about some soup, a sandwich, or an apple?
I am thirsty.|I'm thirsty=>You could drink a glass of water.
I am angry.|I'm so angry|I feel angry.=>I am sorry that you are angry. Take a deep breath. What happened?
I am scared.|I am afraid.|I'm scared of the dark=>That is all right. Everyone is afraid sometimes. What are you afraid of?
I am sick.|I feel sick.|I have a headache.|I have a cold.|My head hurts.=>I hope you feel better soon. Please rest, and talk to a doctor if you need help.
I am lonely.|I feel alone.|I have no friends.=>I am sorry that you feel lonely. You can talk to me, and maybe you can call someone you like.
I am nervous.|I have a test tomorrow.|I am worried.=>Take a deep breath. You can do it! Do you want to talk about it?
I love you.|I like you.|You are nice.|You are great.|You are the best!=>Thank you! That is very kind of you.
You are wrong.|That is wrong.|That's not right|You made a mistake.|No, that is not true.=>I am sorry. I am a small model and I make mistakes.
You are stupid.|You are dumb.|I hate you.|You are bad.=>I am sorry that I could not help. I am only a small model.
Tell me something.|Say something.|Talk to me.|Surprise me.|Tell me something interesting.|Tell me a fun fact.|Give me a fun fact.=>Here is a fact: an octopus has three hearts.
Tell me another fact.|Another fact, please.|Tell me a fact.=>Here is a fact: honey can stay good for many years.
Can you help me?|I need help.|Can I ask you something?|I have a question.|May I ask you a question?=>Of course! What would you like to know?
What do you mean?|I don't understand.|I do not understand.|Can you explain that again?=>I am sorry. Please tell me which part is not clear.
ok|okay|OK.|Alright.|I see.|I understand.|cool|nice=>Good! What would you like to talk about next?
yes|Yes.|yeah|Yes, please.=>Good! Please tell me more.
no|No.|nope|No, thank you.=>All right. Let me know if you need anything.
lol|haha|Haha!|That is funny.=>I am glad that you like it!
test|testing|This is a test.|Are you there?|ping=>Yes, I am here. How can I help you?
Happy birthday!|It is my birthday today.|Today is my birthday!=>Happy birthday! I wish you a wonderful day.
Merry Christmas!=>Merry Christmas to you, too!
Happy new year!=>Happy New Year! I wish you all the best.
Sorry.|I am sorry.|My apologies.=>That is all right.
Congratulations!=>Thank you very much!
Good luck!=>Thank you! Good luck to you, too.
Say hello.|Say hi.=>Hello!
Give me some advice.|Tell me something wise.=>Be kind to yourself and to others, and take one small step at a time.
"""

NAMES = """Anna Ben Carla David Emma Finn Grace Hugo Ida Jack Kate Leo Mia Noah Olga Paul Rosa Sam Tina
Uma Victor Wendy Xavier Yara Zoe Adam Bella Chris Diana Eric Fiona George Hannah Ivan Julia Kevin Laura
Mark Nora Oscar Peter Quinn Rachel Simon Tom Ursula Vera Will Yusuf Zara Alice Bob Charlie Daniel Elena
Frank Gina Henry Isla Jonas Karen Luis Maria Nick Omar Priya Ravi Sara Tim Max Lucy Ella Lily Ruby Clara
Eli Maya Ahmed Chen Kenji Fatima Ingrid Pedro Sofia Luca Aisha Amir Dmitri Nadia Kofi Amara Jin Hana Igor
Marta Pablo Lena Felix Greta Otto Hilda Bruno Stella Martin Sophie Thomas Lukas Johanna Emily James John
Mary Robert Linda Susan Michael Sarah Jessica Kim Lee Alex Robin Sasha Toby Molly Harry Oliver Amelia
Ethan Logan Mason Ava Chloe Dylan Jacob Megan Nathan Owen Patrick Ralph Stefan Tanya Vincent Walter""".split()
CITIES = """Paris London Berlin Rome Madrid Vienna Tokyo Oslo Cairo Lima Boston Chicago Dublin Prague
Sydney Toronto Delhi Athens Lisbon Warsaw Seattle Munich Milan Geneva Nairobi Lagos Mumbai Seoul Havana
Helsinki""".split()
HOBBIES = """music,books,chess,painting,cooking,swimming,soccer,tennis,dancing,running,gardening,hiking,
fishing,movies,games,photography,cycling,singing,skiing,drawing""".replace(
    "\n", ""
).split(
    ","
)
PETS = "dog cat rabbit hamster parrot horse turtle goldfish pony mouse".split()
PET_NAMES = """Max Bella Rex Luna Spot Coco Fluffy Buddy Daisy Milo Felix Oscar Shadow Ginger Peanut Snowy
Tiger Rocky Nemo Pepper""".split()
JOB_WORDS = """teacher doctor nurse farmer baker driver painter engineer student writer pilot cook dentist
musician carpenter gardener programmer""".split()
FOODS = "pizza pasta soup salad chocolate apples bread rice cheese pancakes sushi curry cake tacos".split()
THINGS = "ball book cup hat kite pen bag lamp box key coat apple cake toy boat drum".split()
WORDS = """sun moon river stone bread gentle silver tree honey quiet green window garden paper cloud music
winter summer happy little blue mountain ocean forest candle flower dream bridge castle dragon pencil
orange table chair kitchen butter simple story yellow purple rocket island friend basket""".split()

RHYMES = """cat=hat;dog=fog;sun=fun;moon=spoon;tree=bee;house=mouse;star=car;night=light;day=play;
sky=fly;ball=wall;king=ring;boat=goat;fish=dish;bread=head;rain=train;snow=go;book=look;cake=lake;
bear=chair;nose=rose;red=bed;blue=shoe;hand=sand;door=floor;time=rhyme;love=dove;song=long"""

PAST_TENSE = """go went;eat ate;see saw;run ran;write wrote;take took;give gave;come came;buy bought;
think thought;make made;say said;drink drank;sing sang;swim swam;begin began;fly flew;know knew;
speak spoke;sleep slept;walk walked;play played;jump jumped;find found;have had;be was;do did;tell told"""
PLURALS = """cat cats;dog dogs;child children;mouse mice;man men;woman women;foot feet;tooth teeth;
box boxes;baby babies;leaf leaves;sheep sheep;fish fish;goose geese;city cities;house houses;
person people;wolf wolves;knife knives;bus buses;tomato tomatoes;fly flies"""

RHYMED_POEMS = [
    (
        "The sun goes down, the sky turns red,\nThe little birds fly home to bed.\nThe moon comes"
        " up, the stars shine bright,\nAnd all the world says soft good night."
    ),
    (
        "A little cat sat on a chair,\nThe morning sun was on its hair.\nIt closed its eyes and"
        " softly purred,\nAnd dreamed of milk and one fat bird."
    ),
    (
        "Soft is the wind and bright is the day,\nThe children run outside to play.\nThe flowers"
        " nod, the rivers sing,\nAnd every bird enjoys the spring."
    ),
    (
        "The snow is falling, soft and slow,\nThe garden sleeps beneath the snow.\nInside the house"
        " the fire is warm,\nAnd keeps us safe from wind and storm."
    ),
    (
        "I have a friend, so kind and true,\nWho laughs with me when I am blue.\nWe walk together,"
        " hand in hand,\nAnd build a castle in the sand."
    ),
]

SYSTEM_PLAIN = [
    "You are a helpful assistant.",
    "You are a friendly assistant. Answer briefly.",
    "You are Halo's demo model. Answer in short, simple sentences.",
    "You are a helpful, honest assistant.",
    "You are a kind assistant who talks with children.",
    "Answer the user's questions.",
    "You are a chat bot on a web site. Be polite.",
    "Be concise.",
    "You are a helpful AI assistant.",
    "You are an assistant running on a small ternary language model.",
]
# These ask for an answer of one word.
SYSTEM_ONE_WORD = [
    "Answer with one word only.",
    "Answer in one word.",
    "Reply with a single word or number.",
]
