// SPDX-License-Identifier: Apache-2.0
/*
 * The MESSAGE_ID of each record of the log that programs may wait for. They never change: a record
 * that means something else gets another one. systemd/quantd.catalog explains them to people,
 * quantd(8) lists them.
 */
#pragma once

#define MESSAGE_JOB_STARTED "d3fe964397074a799456b5bba36bd9de"
#define MESSAGE_JOB_ENDED "8b379f90d5cc4b3ba5d31cfb3e519fc9" /* succeeded or cancelled */
#define MESSAGE_JOB_FAILED "710ebee859884b169ac7f2f83f27b139"
#define MESSAGE_JOB_INTERRUPTED "656f3447fa614d3db55b812621ca3b18"
#define MESSAGE_JOB_PAUSED "7a85b18a3321492a8840c29eee35dd63"
#define MESSAGE_DEVICE_FAILED "d03076055c3f4d49a26e60619ef844c6"
#define MESSAGE_REFUSED                                                                            \
    "738dcb4af27b4c9eb0a4c9c4322031bd"                            /* a request was refused         \
                                                                   */
#define MESSAGE_CONFIG_REFUSED "c79be9de6bbc4287ae01b4868f20726e" /* a reload changed nothing */
