//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package chatdm

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// openNonblock keeps a named pipe from blocking.
const openNonblock = syscall.O_NONBLOCK

// tryLockFile locks an open file until it is unlocked or closed, or until the process
// ends. It reports false if the file is already locked, even in this process.
func tryLockFile(file *os.File) (bool, error) {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// unlockFile unlocks a file. Closing the file is not enough if a child process that is
// just being started has a copy of the file descriptor.
func unlockFile(file *os.File) { _ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN) }

// retryFile calls open, which opens or renames a file.
func retryFile(open func() error) error { return open() }

// checkFileAccess returns an error if another user owns the file or has access to it.
func checkFileAccess(path string, info fs.FileInfo) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return fileError(path, "got a file of the user with ID %d, want one of the current user (%d); run chown %d on it",
			stat.Uid, os.Geteuid(), os.Geteuid())
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fileError(path, "got mode %#o, which gives other users access, want %#o; run chmod 600 %s", mode, 0o600, path)
	}
	return nil
}

// syncDir makes a rename in the directory durable.
func (s *FileTokenStore) syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	err = s.sync(dir)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil // some file systems cannot sync directories
	}
	return err
}
