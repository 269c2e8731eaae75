/* SPDX-License-Identifier: MIT */
#ifndef GEV_FILE_H
#define GEV_FILE_H

/** @file gev/file.h
 *  Files. The kernel has no way to wait for a disk as for a socket, so these
 *  calls run in the hub's thread pool while the caller is parked; data that is
 *  in the page cache is read at once. For sockets and pipes <gev/socket.h> is
 *  the better choice.
 *
 *  A caller that is killed, or whose scope expires, leaves at once. The call
 *  itself goes on with memory of its own: a write is written, a read moves the
 *  descriptor's position, and nobody gets the data; an opened descriptor is
 *  closed again. A device or a FIFO that never answers keeps its thread, and
 *  gev_hub_close() waits for it.
 *
 *  In a job of a thread pool they are made in place.
 */
#include <gev/base.h>

#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

GEV_BEGIN_DECLS

/** open(2). O_CLOEXEC is added.
 *
 *  Parks:  yes.
 *  Owns:   the caller's: gev_file_close(), gev_close() or close(2).
 *  @param mode  of a file that it makes
 *  @return a descriptor, or -1 on error
 *
 *  Errors:
 *    EINVAL  path is NULL
 *    EMFILE, ENFILE  no descriptor
 *    EAGAIN  no thread can be started, and there is none
 *    ENOMEM  no memory
 *    and those of open(2) and of any park
 *  Source: gevent.fileobject.FileObjectThread (FIL3)
 *  @since 0.1
 */
GEV_API int gev_file_open(const char *path, int flags, mode_t mode);

/** close(2). Whatever it returns the descriptor is gone, or will be when the
 *  call comes through. Who waits on it in this hub gets EBADF. Where parking is
 *  forbidden it blocks.
 *
 *  Parks:  unless that is forbidden.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EBADF  not open
 *    and those of close(2) and of any park
 *  Source: FileObjectThread.close (FIL3, FIL7)
 *  @since 0.1
 */
GEV_API int gev_file_close(int fd);

/** read(2), from the descriptor's position. Of a regular file it reads n bytes
 *  or up to its end; of anything else what one read gives.
 *
 *  Parks:  unless the data is in the page cache.
 *  @return bytes read, 0 at the end, or -1 on error
 *
 *  Errors:
 *    EBADF   not open for reading
 *    EINVAL  buf is NULL
 *    EAGAIN  no thread can be started; or a non-blocking descriptor has no data
 *    ENOMEM  no memory
 *    and those of read(2) and of any park
 *  Source: gevent.os.tp_read (OS6, FIL3)
 *  @since 0.1
 */
GEV_API ssize_t gev_file_read(int fd, void *buf, size_t n);

/** write(2), at the descriptor's position. Writes all; less only if an error
 *  comes after a part, which the next call then meets. No SIGPIPE.
 *
 *  Parks:  unless the file system takes it without.
 *  @return bytes written, or -1 on error
 *
 *  Errors:
 *    EBADF   not open for writing
 *    EINVAL  buf is NULL
 *    EAGAIN  no thread can be started; or a non-blocking descriptor is full
 *    EPIPE   nobody reads
 *    ENOMEM  no memory
 *    and those of write(2) (ENOSPC) and of any park
 *  Source: gevent.os.tp_write (OS6, FIL3, FIL5)
 *  @since 0.1
 */
GEV_API ssize_t gev_file_write(int fd, const void *buf, size_t n);

/** pread(2): gev_file_read() at an offset, the position stays.
 *
 *  Parks:  unless the data is in the page cache.
 *  @return bytes read, 0 at the end, or -1 on error
 *
 *  Errors:
 *    EINVAL  buf is NULL, or offset is negative
 *    and those of gev_file_read() and of pread(2)
 *  Source: FileObjectThread (FIL3)
 *  @since 0.1
 */
GEV_API ssize_t gev_file_pread(int fd, void *buf, size_t n, off_t offset);

/** pwrite(2): gev_file_write() at an offset, the position stays.
 *
 *  Parks:  unless the file system takes it without.
 *  @return bytes written, or -1 on error
 *
 *  Errors:
 *    EINVAL  buf is NULL, or offset is negative
 *    and those of gev_file_write() and of pwrite(2)
 *  Source: FileObjectThread (FIL3)
 *  @since 0.1
 */
GEV_API ssize_t gev_file_pwrite(int fd, const void *buf, size_t n,
                                off_t offset);

/** fsync(2): waits until the file is on the disk.
 *
 *  Parks:  yes.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EBADF   not open
 *    EAGAIN  no thread can be started, and there is none
 *    ENOMEM  no memory
 *    and those of fsync(2) and of any park
 *  Source: fsync(2)
 *  @since 0.1
 */
GEV_API int gev_file_sync(int fd);

/** stat(2).
 *
 *  Parks:  yes.
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  path is NULL
 *    EAGAIN  no thread can be started, and there is none
 *    ENOMEM  no memory
 *    and those of stat(2) and of any park
 *  Source: stat(2)
 *  @since 0.1
 */
GEV_API int gev_file_stat(const char *path, struct stat *st);

/** Reads a whole file, whatever its size says (so also those of /proc). A NUL,
 *  not counted, follows the last byte.
 *
 *  Parks:  yes.
 *  Owns:   *data is the caller's: free(3).
 *  @param data  NULL: only see whether and how much
 *  @param n     set to the number of bytes, or NULL
 *  @return 0, or -1 on error
 *
 *  Errors:
 *    EINVAL  path is NULL
 *    EAGAIN  no thread can be started, and there is none
 *    ENOMEM  no memory
 *    and those of open(2), read(2) (EISDIR) and of any park
 *  Source: FileObjectThread.readall (FIL3)
 *  @since 0.1
 */
GEV_API int gev_file_load(const char *path, char **data, size_t *n);

/** Makes these bytes the file's content, all or none: they are written to a new
 *  file beside it, which is synced and then takes its name. Readers see the old
 *  content or the new one, also after a crash. A file that was there keeps its
 *  permissions, and its owner if this process may give files away; other hard
 *  links keep the old content. Through a symbolic link its target is replaced.
 *  What is there and is no regular file (a device, a FIFO) is written to.
 *
 *  Parks:  yes.
 *  @param data  NULL if n is 0
 *  @param mode  of a new file, less the umask
 *  @return 0, or -1 on error: the old content is untouched
 *
 *  Errors:
 *    EINVAL  path is NULL; data is NULL and n is not 0
 *    EAGAIN  no thread can be started, and there is none
 *    ENOMEM  no memory
 *    and those of open(2), write(2) (ENOSPC), rename(2) and of any park
 *  Source: FIL5
 *  @since 0.1
 */
GEV_API int gev_file_save(const char *path, const void *data, size_t n,
                          mode_t mode);

GEV_END_DECLS
#endif
