//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows)

package chatdm

import (
	"errors"
	"io/fs"
	"os"
)

const openNonblock = 0

// tryLockFile returns an error. Without a lock, two updates could use the same refresh token.
func tryLockFile(*os.File) (bool, error) { return false, errors.ErrUnsupported }

func unlockFile(*os.File) {}

func retryFile(open func() error) error { return open() }

func checkFileAccess(string, fs.FileInfo) error { return nil }

func (s *FileTokenStore) syncDir(string) error { return nil }
