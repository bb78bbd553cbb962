// What scripts do: objects, strings, JSON, maps, sorting, typed arrays. Prints "last N": seconds of the last round.
const ROUNDS = 18, ROWS = 50000;

function round(seed) {
  const rows = [];
  for (let i = 0; i < ROWS; i++) rows.push({ id: i, name: `row ${(i * 7919 + seed) % 10007}`, tags: [i % 7, i % 11] });
  const again = JSON.parse(JSON.stringify(rows));
  const byName = new Map();
  for (const row of again) byName.set(row.name, (byName.get(row.name) || 0) + row.tags[1]);
  again.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.id - b.id));
  const bytes = new Uint8Array(1 << 20);
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 31 + seed) & 255;
  let sum = 0;
  for (const byte of bytes) sum = (sum + byte) % 1000003;
  return byName.size + sum + again[0].id;
}

let seconds = 0, check = 0;
for (let i = 0; i < ROUNDS; i++) {
  const begin = process.hrtime.bigint();
  check = (check * 31 + round(i)) % 1000003;
  seconds = Number(process.hrtime.bigint() - begin) / 1e9;
}
if (check !== 227156) throw new Error(`${check}`);
console.log(`last ${seconds}`);
