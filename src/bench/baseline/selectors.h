/* What the benchmark's chains select: constants, like a compiled chain's. */
#pragma once
#include "packet.h"

/* Addresses as loaded from a packet on a little-endian host. */
#define V4(a, b, c, d) ((u32)(a) | (u32)(b) << 8 | (u32)(c) << 16 | (u32)(d) << 24)

INLINE u32 source_v4(struct packet *p) { return *(u32 *)(p->ip + 12); }
INLINE u32 destination_v4(struct packet *p) { return *(u32 *)(p->ip + 16); }

/* 10.1.0.0/16 */
INLINE int to_prefix(struct packet *p) { return p->is_v4 && (destination_v4(p) & V4(255, 255, 0, 0)) == V4(10, 1, 0, 0); }

/* 10.0.0.0/8 */
INLINE int from_prefix(struct packet *p) { return p->is_v4 && (source_v4(p) & V4(255, 0, 0, 0)) == V4(10, 0, 0, 0); }

INLINE int is_pure_ack(context *ctx, struct packet *p) {
  return (p->tcp[13] & (ACK | SYN | FIN | RST)) == ACK && payload_length(ctx, p) == 0;
}

/* Arriving from 10.2.0.2 at 10.1.0.1. */
INLINE int is_pair(struct packet *p) {
  return p->is_v4 && destination_v4(p) == V4(10, 1, 0, 1) && source_v4(p) == V4(10, 2, 0, 2);
}

/* From port 5001 to port 43210 of the pair above. */
INLINE int is_subflow(struct packet *p) {
  return is_pair(p) && *(u16 *)(p->tcp + 2) == swap16(43210) && *(u16 *)p->tcp == swap16(5001);
}
