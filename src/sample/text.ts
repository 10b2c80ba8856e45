/** Text that reads like threat intelligence, and does not compress to nothing. */
import type { Random } from './random.ts';

type Words = readonly [string, ...string[]];

const words = (text: string): Words => text.trim().split(/\s+/) as unknown as Words;

const ADJECTIVES = words(`
  amber ancient arctic brazen broken bronze burning cobalt cold crimson cunning dancing dark desert distant dormant
  dusty eager electric emerald fading fancy feral frozen furious gentle ghost gilded golden grim hidden hollow humming
  icy indigo iron ivory jade lazy lonely lunar midnight mirrored molten narrow nimble obsidian opal pale phantom quiet
  restless rogue royal rusty sable scarlet secret shallow silent silver slippery solar stealthy stone stubborn swift
  tangled thorny twisted velvet venomous vivid wandering whispering wicked wild winter wooden`);

const NOUNS = words(`
  adder albatross anchor antler badger basilisk beacon bear bison buffalo cascade chimera chollima cobra condor coyote
  crane cricket dragon dune eagle ember falcon ferret fox gazelle gecko glacier goose griffin hare harbor hawk heron
  hornet hound hydra ibis jackal jaguar kestrel kitten kraken lantern lemur leopard lion lizard lynx magpie mantis
  marten meadow mole mongoose moth narwhal newt ocelot octopus orca osprey otter owl panda panther pelican phoenix
  puma python rabbit raven river salamander scorpion serpent shark spider sparrow sphinx squid stork storm tiger
  toad tundra viper vulture walrus wasp weasel willow wolf wolverine wombat wren`);

const SUBJECTS = words(`
  operators actors intruders analysts affiliates responders researchers administrators victims developers brokers
  adversaries contractors suppliers insiders botmasters`);

const VERBS = words(`
  abuse access activate beacon bypass capture chain compromise conceal collect decode decrypt deliver deploy disable
  download drop dump encrypt enumerate escalate establish evade execute exfiltrate exploit harvest hijack host
  impersonate implant inject install intercept launch load masquerade modify obfuscate observe patch persist phish
  pivot proxy query recover register relay replace rotate scan schedule spoof stage steal tunnel upload wipe`);

const OBJECTS = words(`
  account archive backdoor banner beacon binary bootloader browser bucket cache certificate channel cluster command
  container cookie credential daemon database descriptor document domain dropper driver endpoint exploit extension
  firewall firmware gateway handler hash header host hypervisor image implant installer interface kernel key keylogger
  library listener loader log macro mailbox manifest memory message module network packet password payload pipeline
  plugin policy port process profile protocol proxy ransomware registry relay repository resolver rootkit router sandbox
  scheduler script segment server service session shell shortcut signature snapshot socket spreadsheet stager storage
  subdomain subnet table task template terminal ticket token toolkit trojan tunnel update vault volume webshell
  whitelist worker workstation`);

const ADVERBS = words(`
  again already briefly carefully covertly daily directly early eventually finally frequently heavily indirectly
  initially jointly lately locally mostly nightly often openly partly periodically quickly quietly rapidly rarely
  remotely repeatedly selectively silently slowly subsequently suddenly thereafter twice weekly`);

const SCRIPTS: readonly [string, ...string[]] = [
  '🦊 ',
  'عملية ',
  '行動 ',
  'Операция ',
  'Ζεύς ',
  'a"b\\c ',
  '',
];

/** Two words, as campaigns and actors are named. Now and then with a script, quote or emoji that is easy to break. */
export function title(random: Random): string {
  const exotic = random.chance(0.02) ? random.pick(SCRIPTS) : '';
  return `${exotic}${capital(random.pick(ADJECTIVES))} ${capital(random.pick(NOUNS))}`;
}

export function word(random: Random): string {
  return random.pick(NOUNS);
}

/** Sentences of at least `length` characters in all. */
export function prose(random: Random, length: number): string {
  let text = '';
  while (text.length < length) {
    text += `${capital(random.pick(SUBJECTS))} ${random.pick(VERBS)} the ${random.pick(ADJECTIVES)} ${random.pick(OBJECTS)} and ${random.pick(ADVERBS)} ${random.pick(VERBS)} ${String(random.below(10_000))} ${random.pick(OBJECTS)}s. `;
  }
  return text.trimEnd();
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
