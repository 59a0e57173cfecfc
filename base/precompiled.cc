// Nothing: the file that the precompiled headers are made with (CMakeLists.txt).
