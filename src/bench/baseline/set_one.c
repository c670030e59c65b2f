/* One selector whose members, subflows, are in a hash map with parameters each, and one actor (window cap). */
#include "actors.h"

struct counters {
  u64 seen, matched, capped;
};
struct map_definition SECTION("maps") counters = {MAP_PER_CPU_ARRAY, 4, sizeof(struct counters), 1};

struct member {
  u64 window, flip;
};
struct map_definition SECTION("maps") members = {MAP_HASH, sizeof(struct flow_key), sizeof(struct member), 100000};

SECTION(HOOK) int chain(context *ctx) {
  u32 zero = 0;
  struct counters *count = map_lookup(&counters, &zero);
  if (!count) return PROCEED;
  struct packet p;
  if (!find_tcp(ctx, &p)) return PROCEED;
  count->seen++;
  struct flow_key key = flow_key_of(&p);
  struct member *member = map_lookup(&members, &key);
  if (!member) return PROCEED;
  count->matched++;
  u64 difference = 0;
  cap_window(&p, member->window, member->flip, &difference);
  count->capped++;
  fix_checksum(ctx, &p, difference);
  return PROCEED;
}
