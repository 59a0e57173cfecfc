add_subdirectory(host)
