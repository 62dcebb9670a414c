// SPDX-License-Identifier: Apache-2.0
/* What one client may hold; 0 stands for the default. */
#pragma once

struct api_limits {
    int user_connections; /* of one user to each unix socket; 0: three quarters of all */
    int owner_streams;    /* event streams of one owner; 0: as many as there can be */
    int stream_events;    /* stored events that one stream sends before it ends; 0: 100000 */
    int idle_seconds;     /* that a connection may take nothing of an answer; 0: 60 */
    int request_seconds;  /* that a request may take to come, see api/listen/intake.h; 0: 10 */
};
