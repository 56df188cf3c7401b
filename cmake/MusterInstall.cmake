# `cmake --install`. The programs look for each other beside themselves, and for the rest in ../lib and ../share of their
# folder: a prefix may be moved as a whole, and have any name.

include(GNUInstallDirs)
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON) # of targets from here on: libraries are found again where they were found
cmake_path(SET muster_beside NORMALIZE "${CMAKE_INSTALL_BINDIR}/..")

# Called when all targets are known.
function(muster_install)
  install(TARGETS muster muster-worker RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  if(TARGET muster_cuda)
    install(TARGETS muster_cuda LIBRARY DESTINATION ${muster_beside}/lib)
  endif()
  install(DIRECTORY configs/profiles DESTINATION ${muster_beside}/share/muster FILES_MATCHING PATTERN *.yaml)
  # In the folders that they have in the source, so that what the guides link to is there.
  install(FILES README.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
  install(DIRECTORY docs configs DESTINATION ${CMAKE_INSTALL_DOCDIR} PATTERN profiles EXCLUDE)
  install(DIRECTORY scripts/slurm scripts/container DESTINATION ${CMAKE_INSTALL_DOCDIR}/scripts USE_SOURCE_PERMISSIONS)
endfunction()
