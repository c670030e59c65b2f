/* Finds the IP and TCP headers: VLAN tags, IPv4 options, IPv6 extension headers. Refuses fragments and lying lengths. */
#pragma once
#include "bpf.h"

enum { ETHERNET = 14, VLAN_TAG = 4, V4_HEADER = 20, V6_HEADER = 40, TCP_HEADER = 20, MAX_TAGS = 2, MAX_EXTENSIONS = 8 };
enum { TYPE_V4 = 0x0008, TYPE_V6 = 0xdd86, TYPE_VLAN = 0x0081, TYPE_SERVICE_VLAN = 0xa888 };
enum { HOP_BY_HOP = 0, PROTOCOL_TCP = 6, ROUTING = 43, AUTHENTICATION = 51, DESTINATION = 60 };
enum { FIN = 0x01, SYN = 0x02, RST = 0x04, ACK = 0x10 };

enum parsed { IS_TCP, IS_OTHER, TOO_SHORT };

struct packet {
  u8 *ip;
  u8 *tcp;
  u8 *end;
  u32 is_v4;
  u32 ip_offset;
  u32 ip_length;
  /* By the IP header; 0 when it says none. */
  u32 total_length;
  u32 tcp_length;
};

INLINE enum parsed parse_tcp(struct packet *p) {
  u8 *tcp = p->ip + p->ip_length;
  if (tcp + TCP_HEADER > p->end) return TOO_SHORT;
  u32 length = (tcp[12] >> 4) << 2;
  if (length < TCP_HEADER) return IS_OTHER;
  if (tcp + length > p->end) return TOO_SHORT;
  if (p->total_length != 0 && p->total_length < p->ip_length + length) return IS_OTHER;
  p->tcp = tcp;
  p->tcp_length = length;
  return IS_TCP;
}

INLINE enum parsed parse_v4(struct packet *p) {
  u8 *ip = p->ip;
  u32 length = (ip[0] & 0x0f) << 2;
  if ((ip[0] & 0xf0) != 0x40 || length < V4_HEADER || ip[9] != PROTOCOL_TCP) return IS_OTHER;
  /* The more-fragments flag or an offset. */
  if (*(u16 *)(ip + 6) & 0xff3f) return IS_OTHER;
  p->is_v4 = 1;
  p->ip_length = length;
  p->total_length = swap16(*(u16 *)(ip + 2));
  return parse_tcp(p);
}

INLINE enum parsed parse_v6(struct packet *p) {
  u8 *ip = p->ip;
  if (ip + V6_HEADER + TCP_HEADER > p->end) return TOO_SHORT;
  if ((ip[0] & 0xf0) != 0x60) return IS_OTHER;
  u32 payload = swap16(*(u16 *)(ip + 4));
  p->is_v4 = 0;
  p->total_length = payload ? payload + V6_HEADER : 0;
  u8 next = ip[6];
  u64 length = V6_HEADER;
#pragma clang loop unroll(disable)
  for (int i = 0; next != PROTOCOL_TCP; i++) {
    if (i == MAX_EXTENSIONS) return IS_OTHER;
    u32 unit = 8, extra = 1;
    if (next == AUTHENTICATION) {
      unit = 4;
      extra = 2;
    } else if (next != HOP_BY_HOP && next != ROUTING && next != DESTINATION) {
      return IS_OTHER;
    }
    u8 *extension = ip + length;
    if (extension + 8 > p->end) return TOO_SHORT;
    next = extension[0];
    length += (extension[1] + extra) * unit;
  }
  p->ip_length = length;
  return parse_tcp(p);
}

INLINE enum parsed parse(context *ctx, struct packet *p) {
  u8 *data = (u8 *)(u64)ctx->data;
  u32 offset = ETHERNET;
  p->end = (u8 *)(u64)ctx->data_end;
#pragma unroll
  for (int tags = 0; tags <= MAX_TAGS; tags++) {
    if (data + offset + V4_HEADER + TCP_HEADER > p->end) return TOO_SHORT;
    u16 type = *(u16 *)(data + offset - 2);
    p->ip = data + offset;
    p->ip_offset = offset;
    if (LIKELY(type == TYPE_V4)) return parse_v4(p);
    if (type == TYPE_V6) return parse_v6(p);
    if (type != TYPE_VLAN && type != TYPE_SERVICE_VLAN) return IS_OTHER;
    offset += VLAN_TAG;
  }
  return IS_OTHER;
}

#ifdef HOOK_XDP
INLINE int find_tcp(context *ctx, struct packet *p) { return parse(ctx, p) == IS_TCP; }
INLINE u32 frame_length(context *ctx, struct packet *p) { return ctx->data_end - ctx->data; }
#else
/* The headers may lie outside the linear part of the packet: then they are pulled in, once. */
INLINE int find_tcp(context *ctx, struct packet *p) {
#pragma clang loop unroll(disable)
  for (int attempt = 0; attempt < 2; attempt++) {
    enum parsed parsed = parse(ctx, p);
    if (LIKELY(parsed != TOO_SHORT)) return parsed == IS_TCP;
    skb_pull_data(ctx, ctx->len < 256 ? ctx->len : 256);
  }
  return 0;
}
INLINE u32 frame_length(context *ctx, struct packet *p) { return ctx->len; }
#endif

INLINE u32 payload_length(context *ctx, struct packet *p) {
  u32 total = p->total_length ? p->total_length : frame_length(ctx, p) - p->ip_offset;
  return total - p->ip_length - p->tcp_length;
}

/* The checksum after changes whose differences (after - before, words as loaded) add up to `difference`. */
INLINE void fix_checksum(context *ctx, struct packet *p, u64 difference) {
  if (difference == 0) return;
  /* Made positive by a multiple of 0xffff, which is zero in one's complement. */
  difference += 0xffff0000;
#ifdef HOOK_XDP
  u16 *checksum = (u16 *)(p->tcp + 16);
  u64 sum = (u16)~*checksum + difference;
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  *checksum = ~((sum & 0xffff) + (sum >> 16));
#else
  l4_csum_replace(ctx, p->ip_offset + p->ip_length + 16, 0, difference, 0);
#endif
}
