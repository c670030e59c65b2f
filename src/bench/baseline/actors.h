/* What the benchmark's chains do: cap the window and flip bits of it; remove ADD_ADDR; count packets and measure round-trip times per flow. */
#pragma once
#include "packet.h"

enum { OPTION_END = 0, OPTION_NOP = 1, OPTION_TIMESTAMPS = 8, OPTION_MPTCP = 30, ADD_ADDR = 3, ECHO = 1, MAX_OPTIONS = 40 };

INLINE void cap_window(struct packet *p, u16 limit, u16 flip, u64 *difference) {
  u16 *field = (u16 *)(p->tcp + 14);
  u16 before = *field;
  u16 window = swap16(before);
  u16 after = swap16((window < limit ? window : limit) ^ flip);
  *field = after;
  *difference += (u64)after - before;
}

/* The option at `offset`: its length, or 0 where the walk ends. A NOP is an option of one byte. */
INLINE u64 option_length(struct packet *p, u64 offset) {
  u8 *option = p->tcp + offset;
  if (offset >= p->tcp_length || option + 1 > p->end || option[0] == OPTION_END) return 0;
  if (option[0] == OPTION_NOP) return 1;
  if (option + 2 > p->end) return 0;
  u64 length = option[1];
  /* Keeps it in one register, or the verifier does not see that the offset grows. */
  BARRIER(length);
  return length < 2 || offset + length > p->tcp_length ? 0 : length;
}

INLINE void overwrite(struct packet *p, u64 offset, u64 length, u64 *difference) {
  u8 *byte = p->tcp + offset;
  u32 shift = (offset & 1) << 3;
  for (u64 i = 0; i < MAX_OPTIONS && i < length; i++, byte++, shift ^= 8) {
    if (byte + 1 > p->end) return;
    *difference += ((u64)OPTION_NOP << shift) - ((u64)*byte << shift);
    *byte = OPTION_NOP;
  }
}

struct announcements {
  /* 1 when there was one. */
  u64 removed;
  /* 0 when the segment carries nothing else. */
  u64 more;
};

/* A segment that only announced is dropped. Without a branch: the verifier would follow every way to get here twice. */
INLINE int verdict_of(struct announcements found) {
  u64 more = found.more;
  BARRIER(more);
  u64 drop = found.removed & (~(more | -more) >> 63);
  BARRIER(drop);
  return PROCEED + (int)drop * (DROP - PROCEED);
}

INLINE struct announcements remove_add_addr(context *ctx, struct packet *p, u64 *difference) {
  struct announcements found = {0, (p->tcp[13] & (SYN | FIN | RST)) | payload_length(ctx, p)};
  u64 length;
  for (u64 offset = TCP_HEADER; (length = option_length(p, offset)); offset += length) {
    u8 *option = p->tcp + offset;
    if (option + 1 > p->end || option[0] != OPTION_MPTCP) continue;
    if (length < 3 || option + 3 > p->end || (option[2] >> 4) != ADD_ADDR || (option[2] & ECHO)) {
      found.more |= length;
      continue;
    }
    overwrite(p, offset, length, difference);
    found.removed = 1;
  }
  return found;
}

struct timestamps {
  u32 present;
  /* As loaded; 0 when the option is too short. */
  u32 echo;
};

INLINE struct timestamps find_timestamps(struct packet *p) {
  u64 length;
  for (u64 offset = TCP_HEADER; (length = option_length(p, offset)); offset += length) {
    u8 *option = p->tcp + offset;
    if (length < 2 || option + 1 > p->end || option[0] != OPTION_TIMESTAMPS) continue;
    u32 echo = length >= 10 && option + 10 <= p->end ? *(u32 *)(option + 6) : 0;
    return (struct timestamps){1, echo};
  }
  return (struct timestamps){};
}

struct flow_key {
  u64 local[2];
  u64 remote[2];
  u16 local_port;
  u16 remote_port;
  u32 zero;
};

struct flow {
  u64 packets_in;
  u64 bytes_in;
  u64 packets_out;
  u64 bytes_out;
  u64 stamp_ns;
  u64 rtt_us;
  u32 stamp;
  u32 padding;
};

struct map_definition SECTION("maps") flows = {MAP_LRU_HASH, sizeof(struct flow_key), sizeof(struct flow), 65536};

INLINE u64 mapped(u32 v4) { return (u64)v4 << 32 | 0xffff0000; }

INLINE struct flow_key flow_key_of(struct packet *p) {
  struct flow_key key = {};
  if (p->is_v4) {
    key.local[1] = mapped(*(u32 *)(p->ip + 16));
    key.remote[1] = mapped(*(u32 *)(p->ip + 12));
  } else {
    key.local[0] = *(u64 *)(p->ip + 24);
    key.local[1] = *(u64 *)(p->ip + 32);
    key.remote[0] = *(u64 *)(p->ip + 8);
    key.remote[1] = *(u64 *)(p->ip + 16);
  }
  key.local_port = swap16(*(u16 *)(p->tcp + 2));
  key.remote_port = swap16(*(u16 *)p->tcp);
  return key;
}

INLINE struct flow *flow_of(struct packet *p) {
  struct flow_key key = flow_key_of(p);
  struct flow *flow = map_lookup(&flows, &key);
  if (LIKELY(flow)) return flow;
  struct flow empty = {};
  map_update(&flows, &key, &empty, NO_EXIST);
  return map_lookup(&flows, &key);
}

/* Arriving packets: counts, and stops the clock that a leaving packet started. Returns whether there was room. */
INLINE int record(context *ctx, struct packet *p) {
  struct flow *flow = flow_of(p);
  if (!flow) return 0;
  __sync_fetch_and_add(&flow->packets_in, 1);
  __sync_fetch_and_add(&flow->bytes_in, frame_length(ctx, p));
  struct timestamps found = find_timestamps(p);
  if (!found.present || flow->stamp_ns == 0 || swap32(found.echo) - flow->stamp >= 0x80000000) return 1;
  u64 sample_us = (ktime_get_ns() - flow->stamp_ns) / 1000;
  flow->rtt_us = flow->rtt_us == 0 ? sample_us : (flow->rtt_us * 7 + sample_us) / 8;
  flow->stamp_ns = 0;
  return 1;
}
