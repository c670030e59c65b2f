/* Four selectors (destination, source, pure ACK, pair of addresses), four actors (window cap, ADD_ADDR removed, flows
   recorded, a second window cap). */
#include "actors.h"
#include "selectors.h"

struct counters {
  u64 seen, matched[4], capped, blocked, recorded, no_room, capped_again;
};
struct map_definition SECTION("maps") counters = {MAP_PER_CPU_ARRAY, 4, sizeof(struct counters), 1};
struct {
  u64 window, flip, second_window, second_flip;
} volatile params;

SECTION(HOOK) int chain(context *ctx) {
  u32 zero = 0;
  struct counters *count = map_lookup(&counters, &zero);
  if (!count) return PROCEED;
  struct packet p;
  if (!find_tcp(ctx, &p)) return PROCEED;
  count->seen++;
  if (!to_prefix(&p)) return PROCEED;
  count->matched[0]++;
  if (!from_prefix(&p)) return PROCEED;
  count->matched[1]++;
  if (!is_pure_ack(ctx, &p)) return PROCEED;
  count->matched[2]++;
  if (!is_pair(&p)) return PROCEED;
  count->matched[3]++;
  u64 difference = 0;
  cap_window(&p, params.window, params.flip, &difference);
  count->capped++;
  struct announcements found = remove_add_addr(ctx, &p, &difference);
  count->blocked += found.removed;
  if (record(ctx, &p)) count->recorded++;
  else count->no_room++;
  cap_window(&p, params.second_window, params.second_flip, &difference);
  count->capped_again++;
  fix_checksum(ctx, &p, difference);
  return verdict_of(found);
}
