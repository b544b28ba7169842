// Words with their effects laid over the text that they came from.

/** @typedef {{text: string, effect: number}} Word effect: fall of the label's probability when the word is left out */

/**
 * The text in pieces, each a word with its effect or what stands between words; nothing of the text is lost.
 * @param {string} text @param {Word[]} words in the order of the text
 * @returns {{text: string, effect: number | null}[]}
 */
export function pieces(text, words) {
  const found = [];
  let at = 0;
  for (const word of words) {
    const place = word.text ? text.indexOf(word.text, at) : -1;
    if (place < 0) continue; // told in another form than it stands here: the rest is still shown
    if (place > at) found.push({ text: text.slice(at, place), effect: null });
    found.push({ text: word.text, effect: word.effect });
    at = place + word.text.length;
  }
  if (at < text.length) found.push({ text: text.slice(at), effect: null });
  return found;
}

/**
 * The words that weigh most, each once.
 * @param {Word[]} words @param {number} count
 * @returns {{most: number, forIt: Word[], against: Word[]}} most: the greatest effect in size
 */
export function effectsOf(words, count) {
  const most = Math.max(1e-9, ...words.map(({ effect }) => Math.abs(effect)));
  const strong = words.filter(({ effect }) => Math.abs(effect) >= Math.max(0.005, 0.1 * most));
  const once = strong.filter((word, i) => strong.findIndex((other) => other.text === word.text && other.effect > 0 === word.effect > 0) === i);
  const forIt = once.filter(({ effect }) => effect > 0).sort((a, b) => b.effect - a.effect).slice(0, count);
  const against = once.filter(({ effect }) => effect < 0).sort((a, b) => a.effect - b.effect).slice(0, count);
  return { most, forIt, against };
}
