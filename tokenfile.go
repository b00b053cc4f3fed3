package chatdm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// A FileTokenStore is a [TokenStore] that keeps the tokens in a file. Create it with
// [NewFileTokenStore]. The zero value is not usable.
//
// The file contains the result of [Tokens.MarshalBinary], which is not encrypted. Next to
// the file, the store creates two more files: path + ".lock", which it locks during an
// update, and path + ".tmp", which it renames to path. Do not delete the lock file while a
// program uses the store. The directory must exist and must be on a local file system,
// because network file systems may ignore locks and delay changes.
//
// Load and Update return an error that names the file and says what would be right if the
// file is empty, corrupt, unreadable, not a regular file, or a symbolic link to a missing
// file. On Unix, they also return an error if another user owns the file, or if the group
// or others have any access to it. On Windows, protect the directory, because its access
// control list applies to the file. A store never replaces a file that it cannot read. If
// the file is missing, the store is empty.
//
// Updates of the same file never run concurrently, even through different stores, processes,
// or symbolic links. If a process dies, the system releases its lock immediately. An update
// takes effect completely or not at all, even if the system crashes. Update returns an error
// on systems other than Windows, Linux, macOS, BSD, and illumos.
type FileTokenStore struct {
	path     string
	err      error                // of NewFileTokenStore
	updating chan struct{}        // semaphore for the update that runs or polls the lock file
	sync     func(*os.File) error // replaced by tests
}

var _ TokenStore = (*FileTokenStore)(nil)

// maxTokenFile is the size of the largest file that a FileTokenStore reads or writes.
const maxTokenFile = 1 << 20

// NewFileTokenStore returns a store that keeps the tokens in the file at path. The store
// creates the file with mode 0600 when it first stores tokens. A relative path is relative
// to the current directory at the time of this call. NewFileTokenStore does not access the
// file. If the path is empty, Load and Update return an error.
func NewFileTokenStore(path string) *FileTokenStore {
	s := &FileTokenStore{updating: make(chan struct{}, 1), sync: (*os.File).Sync}
	if path == "" {
		s.err = errors.New("the path must not be empty")
		return s
	}
	s.path, s.err = filepath.Abs(path)
	return s
}

// Load implements [TokenStore]. It neither waits for an update nor locks the file. During
// an update, it returns the old tokens or the new ones.
func (s *FileTokenStore) Load(ctx context.Context) (Tokens, error) {
	path, err := s.resolve(ctx)
	if err != nil {
		return Tokens{}, err
	}
	return s.read(path)
}

// Update implements [TokenStore]. It waits until no other update is running, or returns the
// error of ctx if ctx is done first. After fn has returned tokens, Update stores them even
// if ctx is done. It does not write the file if fn returns the tokens that are already
// stored. The function fn must not call Update for the same file.
func (s *FileTokenStore) Update(ctx context.Context, fn func(context.Context, Tokens) (Tokens, error)) (Tokens, error) {
	path, err := s.resolve(ctx)
	if err != nil {
		return Tokens{}, err
	}
	select {
	case s.updating <- struct{}{}:
		defer func() { <-s.updating }()
	case <-ctx.Done():
		return Tokens{}, ctx.Err()
	}
	lock, err := s.lock(ctx, path+".lock")
	if err != nil {
		return Tokens{}, err
	}
	defer lock.Close()
	defer unlockFile(lock)

	stored, err := s.read(path)
	if err != nil {
		return Tokens{}, err
	}
	// If the store cannot write, fn must not use up the refresh token.
	temp, err := createTokenFile(path + ".tmp")
	if err != nil {
		return Tokens{}, err
	}
	defer func() { _ = os.Remove(temp.Name()) }() // fails after a rename
	defer temp.Close()
	tokens, err := fn(ctx, stored)
	if err != nil {
		return Tokens{}, err
	}
	tokens.Expiry = tokens.Expiry.UTC() // as Load returns it
	if tokens == stored {
		return tokens, nil
	}
	if err := s.write(temp, path, tokens); err != nil {
		return tokens, fmt.Errorf("chatdm.FileTokenStore: cannot store the new tokens: %w", err)
	}
	return tokens, nil
}

// resolve returns the path of the file. If that is a symbolic link, resolve follows it,
// because a rename would replace the link.
func (s *FileTokenStore) resolve(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if s.err != nil {
		return "", fmt.Errorf("chatdm.FileTokenStore: %w", s.err)
	}
	info, err := os.Lstat(s.path)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return s.path, nil // read reports the error
	}
	path, err := filepath.EvalSymlinks(s.path)
	if err != nil {
		return "", fileError(s.path, "cannot follow the symbolic link: %w; remove the link or create its target with the tokens", err)
	}
	return path, nil
}

// lock locks a file that it creates if necessary. It returns the locked file.
func (s *FileTokenStore) lock(ctx context.Context, path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("chatdm.FileTokenStore: cannot open the lock file: %w; want a directory that the current user can write to", err)
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		locked, err := tryLockFile(file)
		if locked {
			return file, nil
		}
		if err != nil {
			file.Close()
			return nil, fileError(path, "cannot lock the file: %w; want a file system that supports locks", err)
		}
		// The random part lets other stores lock the file too.
		timer := time.NewTimer(wait + rand.N(wait))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			file.Close()
			return nil, ctx.Err()
		}
	}
}

// read returns the tokens in the file, or the zero Tokens if there is no file.
func (s *FileTokenStore) read(path string) (Tokens, error) {
	var file *os.File
	err := retryFile(func() (err error) {
		file, err = os.OpenFile(path, os.O_RDONLY|openNonblock, 0)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		// A missing directory may be a volume that is not mounted.
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return Tokens{}, fileError(path, "cannot open the directory: %w; create it, or mount its volume", err)
		}
		return Tokens{}, nil
	}
	if err != nil {
		return Tokens{}, fmt.Errorf("chatdm.FileTokenStore: %w; want a file that the current user can read", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return Tokens{}, fmt.Errorf("chatdm.FileTokenStore: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Tokens{}, fileError(path, "got a %s, want a regular file", fileType(info.Mode()))
	}
	if err := checkFileAccess(path, info); err != nil {
		return Tokens{}, err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxTokenFile+1))
	if err != nil {
		return Tokens{}, fmt.Errorf("chatdm.FileTokenStore: %w", err)
	}
	const restore = "restore it from a backup, or delete it and install the app again"
	switch {
	case len(data) == 0:
		return Tokens{}, fileError(path, "the file is empty; %s", restore)
	case len(data) > maxTokenFile:
		return Tokens{}, fileError(path, "got more than %d bytes, want a file of tokens; %s", maxTokenFile, restore)
	}
	var tokens Tokens
	if err := tokens.UnmarshalBinary(data); err != nil {
		return Tokens{}, fileError(path, "the file is corrupt: %w; %s", err, restore)
	}
	return tokens, nil
}

// reservedSize is how many bytes a temporary file reserves. Tokens seldom need more.
const reservedSize = 4096

// createTokenFile creates a temporary file and reserves space for tokens. The caller must hold
// the lock, so an existing file is left over from an update that did not finish.
func createTokenFile(path string) (*os.File, error) {
	err := os.Remove(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("chatdm.FileTokenStore: cannot remove the temporary file: %w", err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("chatdm.FileTokenStore: cannot create the temporary file: %w; want a directory that the current user can write to", err)
	}
	if _, err := file.Write(make([]byte, reservedSize)); err != nil {
		file.Close()
		_ = os.Remove(path)
		return nil, fmt.Errorf("chatdm.FileTokenStore: cannot write the temporary file: %w; want enough space on the disk", err)
	}
	return file, nil
}

// write writes the tokens to the temporary file, and renames that to path.
func (s *FileTokenStore) write(temp *os.File, path string, tokens Tokens) error {
	data, err := tokens.MarshalBinary()
	if err != nil {
		return err
	}
	if len(data) > maxTokenFile {
		return fmt.Errorf("%s: got %d bytes, want at most %d", path, len(data), maxTokenFile)
	}
	_, err = temp.WriteAt(data, 0)
	if err == nil {
		err = temp.Truncate(int64(len(data)))
	}
	if err == nil {
		err = s.sync(temp)
	}
	if err == nil {
		err = temp.Close() // Windows cannot rename an open file
	}
	if err == nil {
		err = retryFile(func() error { return os.Rename(temp.Name(), path) })
	}
	if err == nil {
		err = s.syncDir(filepath.Dir(path))
	}
	return err
}

// fileType describes the type of a file that is not regular.
func fileType(mode fs.FileMode) string {
	if mode.IsDir() {
		return "directory"
	}
	return "file with mode " + mode.String()
}

// fileError returns an error that names a file.
func fileError(path, format string, args ...any) error {
	return fmt.Errorf("chatdm.FileTokenStore: %s: "+format, append([]any{path}, args...)...)
}
