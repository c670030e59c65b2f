/*
 * For mptcpd: what second-subflow.ts does, by the same events and commands. The address comes in the environment.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <mptcpd/path_manager.h>
#include <mptcpd/plugin.h>

static struct sockaddr_in second = {.sin_family = AF_INET};

static void established(mptcpd_token_t token, struct sockaddr const *local, struct sockaddr const *remote,
			bool server_side, struct mptcpd_pm *manager)
{
	(void)local;
	if (!server_side)
		mptcpd_pm_add_subflow(manager, token, 1, 0, (struct sockaddr const *)&second, remote, false);
}

static struct mptcpd_plugin_ops const handlers = {.connection_established = established};

static int start(struct mptcpd_pm *manager)
{
	char const *address = getenv("SECOND_ADDRESS");

	(void)manager;
	if (!address || inet_pton(AF_INET, address, &second.sin_addr) != 1)
		return -1;
	return mptcpd_plugin_register_ops("second_subflow", &handlers) ? 0 : -1;
}

static void stop(struct mptcpd_pm *manager)
{
	(void)manager;
}

MPTCPD_PLUGIN_DEFINE(second_subflow, "One more subflow", MPTCPD_PLUGIN_PRIORITY_DEFAULT, start, stop)
