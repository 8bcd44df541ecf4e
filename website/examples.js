// Reviews to try. `meant` is what their writer thinks of the film, so that the page can say when the
// model was fooled. The last ones are hard for any model that reads words.

export const EXAMPLES = [
  {
    name: "Warm praise",
    meant: "positive",
    text: "I went in with no idea what to expect and came out beaming. The two leads are wonderful together, the jokes land, and the last scene is as tender as anything I have seen this year. I have already told everyone I know to go.",
  },
  {
    name: "A clear no",
    meant: "negative",
    text: "Two hours I will never get back. The plot makes no sense, the dialogue is painful, and not one of the actors looks as if they want to be there. I have rarely been so bored in a cinema.",
  },
  {
    name: "Turns at the end",
    meant: "negative",
    text: "For an hour this is superb: a gripping story, gorgeous photography, a brilliant cast at the top of their game. Then it throws all of that away. The ending is so lazy and so stupid that I left angry, and I would not recommend it to anybody.",
  },
  {
    name: "Sarcasm",
    meant: "negative",
    text: "What a masterpiece! Breathtaking photography, a story to remember, acting that deserves every prize there is. At least that is what the poster says. I would love to see the film it was made for.",
  },
  {
    name: "Saved at the end",
    meant: "positive",
    text: "The first half is a mess. The pacing is poor, the jokes fall flat and I nearly walked out, bored and annoyed. I am so glad I stayed. The last forty minutes put every piece in its place, and I cried. Go and see it.",
  },
  {
    name: "Not not good",
    meant: "positive",
    text: "I can't say I didn't enjoy it. It is not nearly as bad as people told me, and there is not a single scene in it that I would want to miss.",
  },
];
