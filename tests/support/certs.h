/* SPDX-License-Identifier: MIT */
#ifndef GEV_TEST_CERTS_H
#define GEV_TEST_CERTS_H

/* Certificates for tests, made when they are first asked for in a folder of
 * their own, which goes when the process ends. Each NAME.pem has a NAME.key:
 *
 *   ca       the authority of all that follow but where it says otherwise
 *   good     for localhost, *.test.example, 127.0.0.1 and ::1
 *   fresh    the same, another serial number: for a reload
 *   other    for other.example
 *   expired  for localhost, until yesterday
 *   early    for localhost, from tomorrow on
 *   both     for other.example, until yesterday
 *   chain    for localhost, by an intermediate authority, which is in the file
 *   broken   for localhost, by that authority, which is not in the file
 *   partial  for l*host and *, which match nothing, and the name 127.0.0.1
 *   nul      for localhost, a NUL, .evil.example
 *   revoked  for localhost; ca-crl.pem has the authority and takes it back
 *   unauthorized  for localhost, by one that is no authority
 *   for-clients, for-servers  for localhost, and one purpose only
 *   client   for clients
 *   stranger for clients, by the authority unknown
 *   rogue    for localhost, and for clients: by an authority nobody knows
 *   self     for localhost, signed by itself */

/* The path of a file in the folder: valid until four more were asked for.
 * Aborts if the certificates cannot be made. */
const char *certs_path(const char *file);

#endif
