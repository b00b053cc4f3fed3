module github.com/chatdm/chatdm

go 1.26.0
